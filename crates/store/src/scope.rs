//! Which keys a scope means, and which scopes a key falls under.

/// Whether `scope` includes `key`: a scope that is empty or ends in `/` includes what is below it, any other only itself.
///
/// ```
/// assert!(store::covers("/registry/pods/", "/registry/pods/default/a"));
/// assert!(!store::covers("/registry/pods/default/a", "/registry/pods/default/ab"));
/// ```
pub fn covers(scope: &str, key: &str) -> bool {
    if is_tree(scope) { key.starts_with(scope) } else { key == scope }
}

/// Whether the scope means more than one key.
pub(crate) fn is_tree(scope: &str) -> bool {
    scope.is_empty() || scope.ends_with('/')
}

/// Every scope that includes `key`, shortest first. There are as many as the key has path segments, so looking each up
/// beats asking every registered scope.
pub(crate) fn scopes_of(key: &str) -> impl Iterator<Item = &str> {
    let trees = key.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| &key[..=at]);
    std::iter::once("").chain(trees).chain((!is_tree(key)).then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scopes_of_a_key_are_those_that_cover_it() {
        let scopes: Vec<_> = scopes_of("/r/pods/ns/a").collect();
        assert_eq!(scopes, ["", "/", "/r/", "/r/pods/", "/r/pods/ns/", "/r/pods/ns/a"]);
        assert!(scopes.iter().all(|scope| covers(scope, "/r/pods/ns/a")));
        assert!(!covers("/r/pods", "/r/pods/ns/a"));
    }
}
