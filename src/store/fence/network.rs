//! File systems on which a lock of this machine is not one.

use std::io;
use std::path::Path;

/// What `statfs` calls file systems that other machines see, too, or that do not lock (statfs(2)
/// and `linux/magic.h`).
const NETWORK: [(u64, &str); 13] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB 2"),
    (0x6573_5546, "FUSE"),
    (0x00C3_6400, "Ceph"),
    (0x0102_1997, "9P"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "kAFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x0BD0_0BD0, "Lustre"),
    (0x7375_7245, "Coda"),
];

/// The file system that directory is on, where it is one that locks of this machine should not be
/// on.
pub(super) fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    let found = rustix::fs::statfs(path)?;
    // The kernel's word for it is signed on some machines and has 32 bits on all.
    let kind = found.f_type as u64 & 0xFFFF_FFFF;
    Ok(NETWORK.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_local() {
        assert_eq!(network_file_system(Path::new("/proc")).unwrap(), None);
        assert!(network_file_system(Path::new("/proc/nothing here")).is_err());
    }
}
