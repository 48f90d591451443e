//! Looking at all that is in the archive, a file at a time.

use std::collections::HashSet;

use super::{Archive, BUCKET_JOBS, Files, Found, Place, bucket, lock, name};
use crate::store::codec;
use crate::store::frame::{frame_at, next_frame};
use crate::store::segment::{HEADER_BYTES, Header};
use crate::vocabulary::{Error, Job, JobId};

/// Is called for a job that was found.
type Visit<'v> = &'v mut dyn FnMut(Job) -> Result<(), Error>;

impl Archive {
    /// The last number that shares files with that one.
    #[must_use]
    pub fn together(id: JobId) -> JobId {
        id.plus(BUCKET_JOBS - 1 - id.get() % BUCKET_JOBS)
    }

    /// Calls `each` for every job whose number shares files with `from`, once, in any order.
    ///
    /// Holds one file and one job at a time. Damage is passed over and logged: whoever wants one
    /// job in particular is told by [`get`](Self::get).
    ///
    /// # Errors
    ///
    /// `Io`; `Corrupt` where a file has no header that can be read; what `each` says.
    pub fn visit(&self, from: JobId, each: Visit<'_>) -> Result<(), Error> {
        let bucket = bucket(from);
        match &self.0 {
            Place::Memory(kept) => {
                let kept: Vec<Job> = lock(kept).values().cloned().collect();
                let here = kept.into_iter().filter(|job| super::bucket(job.id) == bucket);
                here.into_iter().try_for_each(each)
            }
            Place::Files(files) => files.visit(bucket, each),
        }
    }
}

impl Files {
    fn visit(&self, bucket: u64, each: Visit<'_>) -> Result<(), Error> {
        let mut seen = HashSet::new();
        for (part, len) in self.parts(bucket)? {
            let bytes = self.read(&name(bucket, part), len)?;
            let header = self.header(&bytes, bucket, part)?;
            let damage = visit_part(&bytes, &header, &mut |job| match seen.insert(job.id) {
                true => each(job),
                false => Ok(()),
            })?;
            if let Some(offset) = damage {
                let place = self.place(bucket, part);
                tracing::warn!(place, offset, "the archive is damaged; other jobs can be read");
            }
        }
        Ok(())
    }
}

/// Calls `each` for the whole jobs in one part. The first place that is damaged, if one is.
pub(super) fn visit_part(
    bytes: &[u8],
    header: &Header,
    each: Visit<'_>,
) -> Result<Option<usize>, Error> {
    let first = header.number * BUCKET_JOBS;
    let ids = first..=first + (BUCKET_JOBS - 1);
    let (mut offset, mut damage, mut found) = (HEADER_BYTES, None, Found::default());
    while offset < bytes.len() {
        let Some(frame) = frame_at(bytes, offset, header.salt, ids.clone()) else {
            damage.get_or_insert(offset);
            found = Found::default();
            offset = next_frame(bytes, offset + 1, header.salt, ids.clone()).unwrap_or(bytes.len());
            continue;
        };
        let whole = codec::decode(frame.version, frame.payload, &mut |record| found.take(record));
        if whole.is_err() {
            damage.get_or_insert(offset);
            found = Found::default();
        }
        offset += frame.len;
        found.whole.take().map_or(Ok(()), &mut *each)?;
    }
    Ok(damage)
}
