//! The `/etc/hosts` file that the kubelet manages for a pod.

use std::fmt::Write;

use api::HostAlias;

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HEADER_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";

/// Text of the file for a pod with addresses of its own.
pub(crate) fn managed(ips: &[String], hostname: &str, domain: &str, aliases: &[HostAlias]) -> String {
    let mut text = String::from(HEADER);
    text.push_str("127.0.0.1\tlocalhost\n");
    text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.push_str("fe00::0\tip6-localnet\n");
    text.push_str("fe00::0\tip6-mcastprefix\n");
    text.push_str("fe00::1\tip6-allnodes\n");
    text.push_str("fe00::2\tip6-allrouters\n");
    for ip in ips {
        // Writing to a String cannot fail.
        let _ = if domain.is_empty() {
            writeln!(text, "{ip}\t{hostname}")
        } else {
            writeln!(text, "{ip}\t{hostname}.{domain}\t{hostname}")
        };
    }
    append_aliases(&mut text, aliases);
    text
}

/// Text of the file for a pod on the host's network: the node's own file and the pod's aliases.
pub(crate) fn host_network(node_file: &str, aliases: &[HostAlias]) -> String {
    let mut text = String::from(HEADER_HOST_NETWORK);
    text.push_str(node_file);
    append_aliases(&mut text, aliases);
    text
}

fn append_aliases(text: &mut String, aliases: &[HostAlias]) {
    if aliases.is_empty() {
        return;
    }
    text.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        let _ = writeln!(text, "{}\t{names}", alias.ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias() -> HostAlias {
        HostAlias { ip: "1.2.3.4".into(), hostnames: Some(vec!["foo".into(), "bar".into()]) }
    }

    #[test]
    fn own_addresses() {
        let text = managed(&["10.0.0.5".into()], "web-0", "web.ns.svc.cluster.local", &[alias()]);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.contains("\n10.0.0.5\tweb-0.web.ns.svc.cluster.local\tweb-0\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"));
        let plain = managed(&["10.0.0.5".into(), "fd00::5".into()], "p", "", &[]);
        assert!(plain.ends_with("10.0.0.5\tp\nfd00::5\tp\n"));
    }

    #[test]
    fn host_network_keeps_the_nodes_file() {
        let text = host_network("127.0.0.1 localhost\n", &[alias()]);
        assert_eq!(
            text,
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n\n\
             # Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"
        );
    }
}
