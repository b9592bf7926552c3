//! Image references as users write them: `nginx`, `nginx:1.27`, `registry.example:5000/team/app@sha256:…`.

use std::fmt;

const DEFAULT_REGISTRY: &str = "docker.io";
const NAME_MAX: usize = 255;

/// A reference in full: registry and repository are always named, and there is a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

impl Reference {
    /// Parses and completes a reference the way Docker does: `nginx` means `docker.io/library/nginx:latest`.
    ///
    /// # Errors
    /// `invalid reference format`, with what is wrong where that helps.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(check_digest(digest)?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(check_tag(tag)?)),
            _ => (rest, None),
        };
        let (registry, repository) = split_registry(name);
        if repository.is_empty() || name.len() > NAME_MAX || !repository.split('/').all(is_component) {
            if repository.chars().any(char::is_uppercase) {
                return Err("invalid reference format: repository name must be lowercase".to_owned());
            }
            return Err("invalid reference format".to_owned());
        }
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// Registry and repository.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `name:tag`, if there is a tag.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// `name@digest` for a digest of this repository.
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first part names a registry if it looks like a host.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "index.docker.io" | "registry-1.docker.io" => (DEFAULT_REGISTRY, rest),
            _ => (host, rest),
        },
        _ => (DEFAULT_REGISTRY, name),
    }
}

/// Letters and digits, joined by one `.`, up to two `_`, or any number of `-`.
fn is_component(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators_fit = part
        .split(plain)
        .filter(|run| !run.is_empty())
        .all(|run| run == "." || run == "_" || run == "__" || run.chars().all(|c| c == '-'));
    part.starts_with(plain) && part.ends_with(plain) && separators_fit
}

fn check_tag(tag: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits =
        tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || c == '.' || c == '-');
    if fits { Ok(tag.to_owned()) } else { Err("invalid reference format".to_owned()) }
}

/// Only SHA-256 is in use.
pub(super) fn check_digest(digest: &str) -> Result<String, String> {
    let hex =
        digest.strip_prefix("sha256:").ok_or("invalid reference format: unsupported digest algorithm")?;
    let fits =
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if fits { Ok(digest.to_owned()) } else { Err("invalid checksum digest format".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("nginx:1.27", "docker.io/library/nginx:1.27".to_owned()),
            ("team/app", "docker.io/team/app:latest".to_owned()),
            ("localhost/app", "localhost/app:latest".to_owned()),
            ("127.0.0.1:5000/a/b__c:x", "127.0.0.1:5000/a/b__c:x".to_owned()),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest".to_owned()),
            (&format!("ghcr.io/a/b@{digest}"), format!("ghcr.io/a/b@{digest}")),
            (&format!("a:1@{digest}"), format!("docker.io/library/a:1@{digest}")),
        ];
        for (text, full) in cases {
            assert_eq!(Reference::parse(text).map(|reference| reference.to_string()), Ok(full), "{text}");
        }
    }

    #[test]
    fn bad_references_are_refused() {
        for text in
            ["", "Nginx", "a b", "a:", "a:b c", "a//b", "-a", "a@sha256:12", "a@md5:12", "a..b", ":x", "/a"]
        {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
