//! `hostPath`: a path of the node, checked against the type the pod expects.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use super::VolumeError;

/// Checks, and for the `…OrCreate` types makes, what the pod expects at `path`.
pub(crate) fn check(path: &Path, type_: &str) -> Result<(), VolumeError> {
    let meta = fs::metadata(path).ok();
    match type_ {
        "DirectoryOrCreate" if meta.is_none() => {
            fs::create_dir_all(path).map_err(VolumeError::io("create", path))?;
            return fs::set_permissions(path, Permissions::from_mode(0o755))
                .map_err(VolumeError::io("change the mode of", path));
        }
        "FileOrCreate" if meta.is_none() => {
            fs::File::create(path).map_err(VolumeError::io("create", path))?;
            return fs::set_permissions(path, Permissions::from_mode(0o644))
                .map_err(VolumeError::io("change the mode of", path));
        }
        _ => {}
    }
    let is = |test: fn(&fs::FileType) -> bool| meta.as_ref().is_some_and(|meta| test(&meta.file_type()));
    let (ok, wanted) = match type_ {
        "" => (true, ""),
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "file"),
        "Socket" => (is(FileTypeExt::is_socket), "socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "block device"),
        other => return Err(VolumeError::Refused(format!("{other:?} is an invalid volume type"))),
    };
    if ok { Ok(()) } else { Err(VolumeError::HostPathType { path: path.display().to_string(), wanted }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let dir = crate::testing::temp_dir();
        let file = dir.path().join("f");
        fs::write(&file, "x").expect("write");
        let cases = [
            (dir.path().to_owned(), "", true),
            (dir.path().join("none"), "", true),
            (dir.path().to_owned(), "Directory", true),
            (file.clone(), "Directory", false),
            (file.clone(), "File", true),
            (dir.path().join("none"), "File", false),
            (dir.path().join("made"), "DirectoryOrCreate", true),
            (dir.path().join("made.txt"), "FileOrCreate", true),
            (file.clone(), "DirectoryOrCreate", false),
            ("/dev/null".into(), "CharDevice", true),
            (file, "Socket", false),
        ];
        for (path, type_, ok) in cases {
            assert_eq!(check(&path, type_).is_ok(), ok, "{} {type_}", path.display());
        }
        assert!(dir.path().join("made").is_dir() && dir.path().join("made.txt").is_file());
    }
}
