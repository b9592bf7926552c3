//! Finding and executing a program inside a container, with errors in the words users know from other runtimes.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;

/// Search path when the container's environment names none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file that `name` means, looked up in the current root directory.
///
/// # Errors
/// A sentence that starts with `exec: "<name>":`.
pub fn find(name: &str, path: Option<&str>) -> Result<String, String> {
    if name.is_empty() {
        return Err("exec: no command given".to_owned());
    }
    if name.contains('/') {
        return check(Path::new(name))
            .map(|()| name.to_owned())
            .map_err(|why| format!("exec: {name:?}: {why}"));
    }
    let mut denied = None;
    for directory in path.unwrap_or(DEFAULT_PATH).split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate.to_string_lossy().into_owned()),
            Err(why) if candidate.is_file() => denied = Some(why),
            Err(_) => {}
        }
    }
    match denied {
        Some(why) => Err(format!("exec: {name:?}: {why}")),
        None => Err(format!("exec: {name:?}: executable file not found in $PATH")),
    }
}

fn check(path: &Path) -> Result<(), String> {
    match path.metadata() {
        Ok(meta) if meta.is_dir() => Err("is a directory".to_owned()),
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => Err("permission denied".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            Err(format!("stat {}: {}", path.display(), describe(errno)))
        }
    }
}

/// The value of a variable in an environment of `NAME=value` strings.
pub fn variable<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// Replaces this process. Returns only when that failed, with the reason.
pub fn execute(arguments: &[String], environment: &[String]) -> String {
    let Some(name) = arguments.first() else { return "exec: no command given".to_owned() };
    let file = match find(name, variable(environment, "PATH")) {
        Ok(file) => file,
        Err(reason) => return reason,
    };
    let strings =
        |list: &[String]| list.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>();
    let (Ok(path), Ok(argv), Ok(envp)) = (CString::new(file), strings(arguments), strings(environment))
    else {
        return format!("exec: {name:?}: argument contains a zero byte");
    };
    let errno = match nix::unistd::execve(&path, &argv, &envp) {
        Err(errno) => errno,
        Ok(never) => match never {},
    };
    format!("exec: {name:?}: {}", describe(errno))
}

fn describe(errno: Errno) -> String {
    match errno {
        Errno::ENOEXEC => "exec format error".to_owned(),
        Errno::EACCES | Errno::EPERM => "permission denied".to_owned(),
        Errno::ENOENT => "no such file or directory".to_owned(),
        other => other.desc().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_users_expect() {
        assert_eq!(find("sh", Some("/nowhere:/bin")), Ok("/bin/sh".to_owned()));
        assert_eq!(find("/bin/sh", None), Ok("/bin/sh".to_owned()));
        let missing = find("no-such-program", Some("/bin"));
        assert_eq!(missing, Err("exec: \"no-such-program\": executable file not found in $PATH".to_owned()));
        let missing = find("/no/such", None);
        assert_eq!(missing, Err("exec: \"/no/such\": stat /no/such: no such file or directory".to_owned()));
        assert_eq!(find("/etc/passwd", None), Err("exec: \"/etc/passwd\": permission denied".to_owned()));
        assert_eq!(find("/etc", None), Err("exec: \"/etc\": is a directory".to_owned()));
    }
}
