//! Who a container's process is: names looked up in the container's own `/etc/passwd` and `/etc/group`.

use super::protocol::UserRequest;

/// Numbers the process runs with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some(Account { name, uid, gid: fields.next()?.parse().ok()? })
    })
}

/// Group name, number and members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

/// Resolves `request` against the texts of the two files.
///
/// # Errors
/// A sentence naming the user or group that does not exist, or why root is refused.
pub fn resolve(request: &UserRequest, passwd: &str, group: &str) -> Result<Identity, String> {
    let (user_text, group_text) = match request.image_user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (request.image_user.as_str(), None),
    };
    let by_uid = |uid: u32| accounts(passwd).find(|account| account.uid == uid);
    let (uid, account) = match (request.uid, user_text) {
        (Some(uid), _) => (uid, by_uid(uid)),
        (None, "") => (0, by_uid(0)),
        (None, text) => match accounts(passwd).find(|account| account.name == text) {
            Some(account) => (account.uid, Some(account)),
            None => {
                let uid = text
                    .parse()
                    .map_err(|_| format!("unable to find user {text}: no matching entries in passwd file"))?;
                (uid, by_uid(uid))
            }
        },
    };
    let gid = match (request.gid, group_text.filter(|_| request.uid.is_none())) {
        (Some(gid), _) => gid,
        (None, Some(text)) if !text.is_empty() => find_group(text, group)?,
        _ => account.as_ref().map_or(0, |account| account.gid),
    };
    if request.non_root && uid == 0 {
        return Err("container has runAsNonRoot and image will run as root".to_owned());
    }
    let mut all = vec![gid];
    if let Some(account) = &account {
        let member = |members: &str| members.split(',').any(|name| name == account.name);
        all.extend(groups(group).filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid));
    }
    all.extend(&request.supplemental);
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|gid| seen.insert(*gid));
    Ok(Identity { uid, gid, groups: all })
}

fn find_group(text: &str, group: &str) -> Result<u32, String> {
    match groups(group).find(|(name, _, _)| *name == text) {
        Some((_, gid, _)) => Ok(gid),
        None => text
            .parse()
            .map_err(|_| format!("unable to find group {text}: no matching entries in group file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:50:other,web\nstaff:x:60:root\n";

    fn check(
        image_user: &str,
        uid: Option<u32>,
        gid: Option<u32>,
        extra: &[u32],
    ) -> Result<(u32, u32, Vec<u32>), String> {
        let request = UserRequest {
            image_user: image_user.to_owned(),
            uid,
            gid,
            supplemental: extra.to_vec(),
            non_root: false,
        };
        resolve(&request, PASSWD, GROUP).map(|identity| (identity.uid, identity.gid, identity.groups))
    }

    #[test]
    fn identities() {
        assert_eq!(check("", None, None, &[]), Ok((0, 0, vec![0, 60])));
        assert_eq!(check("web", None, None, &[]), Ok((33, 34, vec![34, 50])));
        assert_eq!(check("33", None, None, &[7]), Ok((33, 34, vec![34, 50, 7])));
        assert_eq!(check("web:logs", None, None, &[]), Ok((33, 50, vec![50])));
        assert_eq!(check("1000:2000", None, None, &[]), Ok((1000, 2000, vec![2000])));
        assert_eq!(check("1000", None, None, &[]), Ok((1000, 0, vec![0])));
        assert_eq!(check("web:logs", Some(5), None, &[]), Ok((5, 0, vec![0])));
        assert_eq!(check("", Some(33), Some(9), &[9, 8]), Ok((33, 9, vec![9, 50, 8])));
        let missing = Err("unable to find user nobody: no matching entries in passwd file".to_owned());
        assert_eq!(check("nobody", None, None, &[]), missing);
    }

    #[test]
    fn root_is_refused_when_asked() {
        let request = UserRequest { non_root: true, ..UserRequest::default() };
        assert!(resolve(&request, PASSWD, GROUP).is_err());
    }
}
