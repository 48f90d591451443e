//! What the disk itself can do: the same bytes in a plain file, with the same number of syncs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use lockmaster::vocabulary::Error;

/// How long it takes to append that many times so many bytes, each on disk before the next.
/// The file is filled with zeros before, so that no append changes its size.
pub(super) fn appends(dir: &Path, times: usize, bytes: usize) -> Result<Vec<Duration>, Error> {
    let path = dir.join("raw");
    let cannot = |error| Error::io(format!("cannot measure {}", path.display()), error);
    let file = File::create(&path).map_err(cannot)?;
    file.write_all_at(&vec![0; times * bytes], 0).map_err(cannot)?;
    file.sync_all().map_err(cannot)?;
    let buffer = vec![1; bytes];
    let append = |number: usize| {
        let began = Instant::now();
        file.write_all_at(&buffer, (number * bytes) as u64)?;
        file.sync_data()?;
        Ok(began.elapsed())
    };
    (0..times).map(append).collect::<std::io::Result<_>>().map_err(cannot)
}
