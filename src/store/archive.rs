//! Jobs that have left the queue, in files by their numbers.
//!
//! A thousand jobs that follow each other share a file, or several where they are large. A file
//! only grows: what a crash tore stays in it and is passed over, because whoever was told that a
//! job is archived was told after it was durable. Format: `design/log.md`.

mod visit;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::codec;
use super::file::{Directory, LogFile, RealDirectory};
use super::frame::{Draft, Frame, frame_at, next_frame};
use super::recovery::newer;
use super::segment::{self, FORMAT, HEADER_BYTES, Header, HeaderFault, KIND_ARCHIVE};
use super::state_dir::ARCHIVE;
use crate::vocabulary::{Error, ErrorKind, Job, JobId, Record};

/// How many numbers share a file.
pub(crate) const BUCKET_JOBS: u64 = 1000;
/// A part that is longer than this is followed by another.
pub(crate) const PART_BYTES: u64 = 64 << 20;

/// What is in an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveReport {
    /// How many files it has.
    pub files: u64,
    /// The jobs that can be read, by id.
    pub jobs: BTreeSet<JobId>,
    /// Files and offsets at which something stands that is no record. A crash leaves such bytes
    /// too: then they are of a job that is still in the queue, or stands in the archive again.
    pub unreadable: Vec<(PathBuf, u64)>,
}

/// The archive of a state directory, or one in memory. May be used by many threads.
pub struct Archive(Place);

enum Place {
    Memory(Mutex<BTreeMap<JobId, Job>>),
    Files(Files),
}

struct Files {
    directory: Box<dyn Directory>,
    path: PathBuf,
    part_bytes: u64,
    /// The part that was written last. Also keeps writers apart.
    open: Mutex<Option<Part>>,
}

/// A part of a bucket, open for writing.
struct Part {
    header: Header,
    file: Box<dyn LogFile>,
    end: u64,
}

impl Archive {
    /// The archive of a state directory that this process has opened.
    #[must_use]
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(ARCHIVE);
        Self::open_in(Box::new(RealDirectory::new(&path)), path, PART_BYTES)
    }

    /// An archive in any directory.
    pub(crate) fn open_in(directory: Box<dyn Directory>, path: PathBuf, part_bytes: u64) -> Self {
        Self(Place::Files(Files { directory, path, part_bytes, open: Mutex::new(None) }))
    }

    /// An archive that lasts as long as this value.
    #[must_use]
    pub fn in_memory() -> Self {
        Self(Place::Memory(Mutex::default()))
    }

    /// Puts jobs into the archive; they are durable when this returns. One sync for each
    /// thousand numbers that jobs come from. A job may be put in again, as it is.
    ///
    /// # Errors
    ///
    /// `Io` where writing fails, `Corrupt` where the file they belong into is no such file: some
    /// may be in. Trying again is safe.
    pub fn put(&self, jobs: &[Job]) -> Result<(), Error> {
        let files = match &self.0 {
            Place::Files(files) => files,
            Place::Memory(kept) => {
                lock(kept).extend(jobs.iter().map(|job| (job.id, job.clone())));
                return Ok(());
            }
        };
        let mut buckets = BTreeMap::<u64, Vec<&Job>>::new();
        for job in jobs {
            buckets.entry(bucket(job.id)).or_default().push(job);
        }
        buckets.into_iter().try_for_each(|(bucket, jobs)| files.put(bucket, &jobs))
    }

    /// The job of that id, if the archive has it. Reads the file that it would be in.
    ///
    /// # Errors
    ///
    /// `Corrupt` where it is not found and damage may be the reason; `Io`.
    pub fn get(&self, id: JobId) -> Result<Option<Job>, Error> {
        match &self.0 {
            Place::Memory(kept) => Ok(lock(kept).get(&id).cloned()),
            Place::Files(files) => files.get(id),
        }
    }

    /// Reads all of it. Takes memory for one file and for the ids of the jobs.
    ///
    /// # Errors
    ///
    /// `Io`; `Corrupt` where a file is of a newer version.
    pub fn check(&self) -> Result<ArchiveReport, Error> {
        match &self.0 {
            Place::Memory(kept) => {
                let jobs = lock(kept).keys().copied().collect();
                Ok(ArchiveReport { jobs, ..ArchiveReport::default() })
            }
            Place::Files(files) => files.check(),
        }
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Archive")
    }
}

fn bucket(id: JobId) -> u64 {
    id.get() / BUCKET_JOBS
}

/// The name of a part of a bucket.
pub(crate) fn name(bucket: u64, part: u64) -> String {
    match part {
        0 => format!("{bucket:08}.jobs"),
        part => format!("{bucket:08}-{part}.jobs"),
    }
}

/// Which bucket and part a file of that name is.
fn number(file: &str) -> Option<(u64, u64)> {
    let stem = file.strip_suffix(".jobs")?;
    let (bucket, part) = stem.split_once('-').unwrap_or((stem, "0"));
    let (bucket, part) = (bucket.parse().ok()?, part.parse().ok()?);
    (name(bucket, part) == file).then_some((bucket, part))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is either whole or of no importance: see where it is taken.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    fn put(&self, bucket: u64, jobs: &[&Job]) -> Result<(), Error> {
        let mut open = lock(&self.open);
        // Taken out, so that a part of which nobody knows the end is not used again.
        let mut part = match open.take().filter(|part| part.header.number == bucket) {
            Some(part) => part,
            None => self.last_part(bucket)?,
        };
        for job in jobs {
            if part.end >= self.part_bytes {
                self.sync(&mut part)?;
                part = self.begin(bucket, part.header.first + 1)?;
            }
            part.end = self.write(&mut part, job)?;
        }
        self.sync(&mut part)?;
        *open = Some(part);
        Ok(())
    }

    fn sync(&self, part: &mut Part) -> Result<(), Error> {
        part.file.sync_data().map_err(|error| self.cannot("sync", &part.header, error))
    }

    /// Writes the frames of a job at the end of a part; gives the new end.
    fn write(&self, part: &mut Part, job: &Job) -> Result<u64, Error> {
        let mut bytes = Vec::new();
        for records in Record::copies_of(job, Record::PIECE_BYTES) {
            let mut draft = Draft::new();
            codec::encode(&records, draft.bytes_mut())?;
            super::log::refuse_too_large(&draft)?;
            bytes.extend(draft.finish(part.header.salt, job.id.get()));
        }
        let written = part.file.write_at(part.end, &bytes);
        written.map_err(|error| self.cannot("write", &part.header, error))?;
        Ok(part.end + bytes.len() as u64)
    }

    /// The part to go on in, begun where there is none.
    fn last_part(&self, bucket: u64) -> Result<Part, Error> {
        let Some((number, end)) = self.parts(bucket)?.last().copied() else {
            return self.begin(bucket, 0);
        };
        let name = name(bucket, number);
        let head = self.read(&name, HEADER_BYTES as u64)?;
        let header = self.header(&head, bucket, number)?;
        let opened = self.directory.open(&name);
        let file = opened.map_err(|error| self.cannot("open", &header, error))?;
        // Whoever made it may have died, or failed, before its name was on disk.
        let named = self.directory.sync();
        named.map_err(|error| self.cannot("sync the directory of", &header, error))?;
        Ok(Part { header, file, end })
    }

    fn begin(&self, bucket: u64, part: u64) -> Result<Part, Error> {
        let header = Header::of_archive(bucket, part);
        let file = segment::create(&*self.directory, &name(bucket, part), &header.encode())
            .map_err(|error| self.cannot("make", &header, error))?;
        Ok(Part { header, file, end: HEADER_BYTES as u64 })
    }

    /// The parts of a bucket, and how long they are.
    fn parts(&self, bucket: u64) -> Result<Vec<(u64, u64)>, Error> {
        let mut parts = Vec::new();
        for part in 0.. {
            let len = self.directory.len(&name(bucket, part)).map_err(|error| {
                Error::io(format!("cannot look at {}", self.place(bucket, part)), error)
                    .hint("the jobs stay in the queue; see to the trouble of the disk")
            })?;
            match len {
                Some(len) => parts.push((part, len)),
                None => break,
            }
        }
        Ok(parts)
    }

    fn get(&self, id: JobId) -> Result<Option<Job>, Error> {
        let mut damage = None;
        for (part, len) in self.parts(bucket(id))? {
            let bytes = self.read(&name(bucket(id), part), len)?;
            let header = self.header(&bytes, bucket(id), part)?;
            let (found, damaged) = self.find(&bytes, &header, id)?;
            if found.is_some() {
                return Ok(found);
            }
            damage = damage.or(damaged.map(|offset| (part, offset)));
        }
        match damage {
            None => Ok(None),
            Some((part, offset)) => Err(corrupt(format!(
                "job {id} is not found in the archive, and {} is damaged at offset {offset}",
                self.place(bucket(id), part)
            ))),
        }
    }

    /// The job of that id in one part, and where it is damaged, if it is.
    fn find(
        &self,
        bytes: &[u8],
        header: &Header,
        id: JobId,
    ) -> Result<(Option<Job>, Option<usize>), Error> {
        let first = header.number * BUCKET_JOBS;
        let ids = first..=first + (BUCKET_JOBS - 1);
        let (mut offset, mut damage, mut found) = (HEADER_BYTES, None, Found::default());
        while offset < bytes.len() {
            let Some(frame) = frame_at(bytes, offset, header.salt, ids.clone()) else {
                damage.get_or_insert(offset);
                let next = next_frame(bytes, offset + 1, header.salt, ids.clone());
                offset = next.unwrap_or(bytes.len());
                continue;
            };
            if frame.sequence == id.get() && self.read_frame(&frame, header, &mut found)?.is_none()
            {
                damage.get_or_insert(offset);
            }
            offset += frame.len;
        }
        Ok((found.whole(), damage))
    }

    /// Takes in what stands in a frame; none where that is no record.
    fn read_frame(
        &self,
        frame: &Frame<'_>,
        header: &Header,
        found: &mut Found,
    ) -> Result<Option<()>, Error> {
        if frame.version > codec::VERSION {
            let place = self.path.join(name(header.number, header.first));
            return Err(newer(&place, "records", frame.version.into(), codec::VERSION.into()));
        }
        let mut each = |record| found.take(record);
        Ok(codec::decode(frame.version, frame.payload, &mut each).ok())
    }

    fn check(&self) -> Result<ArchiveReport, Error> {
        let mut report = ArchiveReport::default();
        let cannot = |error| Error::io(format!("cannot list {}", self.path.display()), error);
        for name in self.directory.list().map_err(cannot)? {
            let Some((bucket, part)) = number(&name) else { continue };
            report.files += 1;
            let bytes = self.read(&name, u64::MAX)?;
            match self.header(&bytes, bucket, part) {
                Ok(header) => {
                    let damage = visit::visit_part(&bytes, &header, &mut |job| {
                        report.jobs.insert(job.id);
                        Ok(())
                    })?;
                    let place = |offset| (self.path.join(&name), offset as u64);
                    report.unreadable.extend(damage.map(place));
                }
                Err(_) if Header::decode(&bytes, KIND_ARCHIVE) == Err(HeaderFault::Damaged) => {
                    report.unreadable.push((self.path.join(&name), 0));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    fn read(&self, name: &str, at_most: u64) -> Result<Vec<u8>, Error> {
        self.directory.read(name, at_most).map_err(|error| {
            Error::io(format!("cannot read {}", self.path.join(name).display()), error)
        })
    }

    fn header(&self, bytes: &[u8], bucket: u64, part: u64) -> Result<Header, Error> {
        let place = self.place(bucket, part);
        match Header::decode(bytes, KIND_ARCHIVE) {
            Ok(header) if (header.number, header.first) == (bucket, part) => Ok(header),
            Ok(_) => Err(corrupt(format!("{place} has the name of another file"))),
            Err(HeaderFault::Newer(format)) => {
                Err(newer(&self.path.join(name(bucket, part)), "archive", format, FORMAT))
            }
            Err(HeaderFault::Damaged) => {
                Err(corrupt(format!("{place} is damaged at offset 0, in its header")))
            }
        }
    }

    fn place(&self, bucket: u64, part: u64) -> String {
        self.path.join(name(bucket, part)).display().to_string()
    }

    fn cannot(&self, what: &str, header: &Header, error: io::Error) -> Error {
        let place = self.place(header.number, header.first);
        Error::io(format!("cannot {what} {place}"), error)
            .hint("the jobs stay in the queue; make room on the disk or see to its trouble")
    }
}

/// A job that is put together from its frames. A later copy of it takes the place of an earlier.
#[derive(Default)]
struct Found {
    job: Option<Job>,
    missing: usize,
    whole: Option<Job>,
}

impl Found {
    fn take(&mut self, record: Record) {
        match record {
            Record::Copied { job, more } => {
                (self.job, self.missing) = (Some(*job), more as usize);
            }
            Record::CopiedOps { ops, .. } => {
                let Some(job) = &mut self.job else { return };
                self.missing = self.missing.saturating_sub(ops.len());
                job.ops.extend(ops);
            }
            Record::Terms { terms, ops, .. } => {
                // They stand behind the whole job. Which opcodes it lacks, they cannot be about.
                _ = self.whole.as_mut().map(|job| job.set_terms(&terms, &ops));
            }
            _ => {}
        }
        if self.missing == 0 {
            self.whole = self.job.take().or(self.whole.take());
        }
    }

    fn whole(self) -> Option<Job> {
        self.whole
    }
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message).hint("other archived jobs can still be read")
}
