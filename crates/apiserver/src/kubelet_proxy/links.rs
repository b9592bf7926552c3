//! Links of proxied answers: what leads to the target's own root has to lead below the proxied path (upstream: apimachinery
//! `util/proxy/transport.go`).

/// Where links lead.
#[derive(Debug, Clone)]
pub(super) struct Links {
    /// The path under which the client sees the target's root.
    pub prefix: String,
    /// Host and port of the target.
    pub target: String,
    /// The host that the client asked for.
    pub asked: String,
}

/// The parts of a link that matter here.
struct Link<'a> {
    /// Scheme and authority, as they are written.
    origin: &'a str,
    host: &'a str,
    path: &'a str,
    /// Query and fragment.
    rest: &'a str,
}

impl Links {
    /// The link as the client has to follow it; `None` when it stays as it is.
    pub fn rewritten(&self, link: &str) -> Option<String> {
        let parts = split(link)?;
        let foreign = !parts.host.is_empty() && parts.host != self.target && parts.host != self.asked;
        if foreign || !parts.path.starts_with('/') {
            return None;
        }
        let origin = if !parts.host.is_empty() && parts.host == self.asked { parts.origin } else { "" };
        let path = if parts.path.starts_with(&self.prefix) {
            parts.path.to_owned()
        } else {
            join(&self.prefix, parts.path)
        };
        Some(format!("{origin}{path}{}", parts.rest)).filter(|rewritten| rewritten != link)
    }
}

fn split(link: &str) -> Option<Link<'_>> {
    let after_scheme = scheme_length(link)?;
    let rest = &link[after_scheme..];
    let (origin, after, host) = match rest.strip_prefix("//") {
        Some(authority) => {
            let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
            let host = authority[..end].rsplit('@').next().unwrap_or_default();
            (&link[..after_scheme + 2 + end], &authority[end..], host)
        }
        None => (&link[..after_scheme], rest, ""),
    };
    let (path, rest) = after.split_at(after.find(['?', '#']).unwrap_or(after.len()));
    Some(Link { origin, host, path, rest })
}

/// Length of `scheme:`, zero when there is none; `None` for what is no URL.
fn scheme_length(link: &str) -> Option<usize> {
    let Some(colon) = link.find([':', '/', '?', '#']).filter(|at| link[*at..].starts_with(':')) else {
        return Some(0);
    };
    let scheme = &link[..colon];
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    valid.then_some(colon + 1)
}

/// A path below another one, without empty and dotted parts.
pub(super) fn join(prefix: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in prefix.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_within_the_target_stay_below_the_proxied_path() {
        let links = Links {
            prefix: "/proxy/x".to_owned(),
            target: "10.0.0.1:80".to_owned(),
            asked: "api:6443".to_owned(),
        };
        for (from, to) in [
            ("/login", "/proxy/x/login"),
            ("/", "/proxy/x/"),
            ("/a/../b/./c/?q=/d#e", "/proxy/x/b/c/?q=/d#e"),
            ("http://10.0.0.1:80/a", "/proxy/x/a"),
            ("//10.0.0.1:80/a", "/proxy/x/a"),
            ("https://api:6443/a", "https://api:6443/proxy/x/a"),
            ("https://user@api:6443/a?b", "https://user@api:6443/proxy/x/a?b"),
            ("/proxy/x/a", "/proxy/x/a"),
            ("https://elsewhere/a", "https://elsewhere/a"),
            ("//host/x", "//host/x"),
            ("a/b", "a/b"),
            ("?q", "?q"),
            ("#top", "#top"),
            ("", ""),
            ("mailto:a@b", "mailto:a@b"),
            ("http://10.0.0.1:80", "http://10.0.0.1:80"),
            ("1:/x", "1:/x"),
        ] {
            assert_eq!(links.rewritten(from).unwrap_or_else(|| from.to_owned()), to, "{from}");
        }
    }
}
