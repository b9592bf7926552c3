//! `/etc/resolv.conf` and host names of pods.

use std::net::IpAddr;

use crate::pod::PodInfo;

/// Limits of the resolver in the C library, which upstream applies as well.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCH_PATHS: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
/// Host names longer than this are cut, as the kernel would refuse them.
const MAX_HOSTNAME: usize = 63;

/// A resolver configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DnsConfig {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl DnsConfig {
    /// Reads the text of a `resolv.conf`.
    pub fn parse(text: &str) -> Self {
        let mut config = Self::default();
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
                Some("search") => {
                    config.searches = words
                        .map(|word| if word == "." { word } else { word.trim_end_matches('.') }.to_owned())
                        .collect();
                }
                Some("options") => config.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        config
    }

    /// The text of a `resolv.conf`.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }

    fn bounded(mut self) -> Self {
        self.servers.truncate(MAX_NAMESERVERS);
        self.searches.truncate(MAX_SEARCH_PATHS);
        while self.searches.join(" ").len() > MAX_SEARCH_CHARS {
            self.searches.pop();
        }
        self
    }
}

/// Facts of the cluster that a pod's resolver depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterDns {
    pub servers: Vec<IpAddr>,
    pub domain: String,
}

/// The pod's resolver configuration; `host` is the node's own.
pub(crate) fn for_pod(pod: &PodInfo, cluster: &ClusterDns, host: &DnsConfig) -> DnsConfig {
    let policy = pod.spec().dns_policy.as_deref().unwrap_or("ClusterFirst");
    let in_cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod.host_network(),
        _ => false,
    };
    let mut config = if policy == "None" {
        DnsConfig::default()
    } else if in_cluster && !cluster.servers.is_empty() {
        cluster_first(pod, cluster, host)
    } else {
        host.clone()
    };
    if let Some(custom) = &pod.spec().dns_config {
        append(&mut config, custom);
    }
    config.bounded()
}

fn cluster_first(pod: &PodInfo, cluster: &ClusterDns, host: &DnsConfig) -> DnsConfig {
    let mut searches = Vec::new();
    if !cluster.domain.is_empty() {
        let domain = &cluster.domain;
        searches = vec![format!("{}.svc.{domain}", pod.namespace()), format!("svc.{domain}"), domain.clone()];
    }
    add_distinct(&mut searches, &host.searches);
    DnsConfig {
        servers: cluster.servers.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

fn append(config: &mut DnsConfig, custom: &api::PodDNSConfig) {
    add_distinct(&mut config.servers, custom.nameservers.as_deref().unwrap_or_default());
    add_distinct(&mut config.searches, custom.searches.as_deref().unwrap_or_default());
    for option in custom.options.iter().flatten() {
        let Some(name) = &option.name else { continue };
        let text = match option.value.as_deref() {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            _ => name.clone(),
        };
        let same = |old: &String| old.split(':').next() == Some(name.as_str());
        match config.options.iter().position(same) {
            Some(index) => config.options[index] = text,
            None => config.options.push(text),
        }
    }
}

fn add_distinct(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// Host name and domain of a pod; the domain is empty without `spec.subdomain`.
pub(crate) fn hostname(pod: &PodInfo, node_hostname: &str, cluster_domain: &str) -> (String, String) {
    let spec = pod.spec();
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (name.to_owned(), String::new());
    }
    if pod.host_network() {
        return (node_hostname.to_owned(), String::new());
    }
    let name = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(pod.name());
    let name = if name.len() > MAX_HOSTNAME {
        // Cut on a character boundary; names are ASCII once admitted.
        name.get(..MAX_HOSTNAME).unwrap_or(name).trim_end_matches(['-', '.'])
    } else {
        name
    };
    let domain = match spec.subdomain.as_deref() {
        Some(subdomain) if !subdomain.is_empty() => {
            format!("{subdomain}.{}.svc.{cluster_domain}", pod.namespace())
        }
        _ => String::new(),
    };
    (name.to_owned(), domain)
}

/// The name the container's kernel gets: the short one unless `setHostnameAsFQDN`.
pub(crate) fn kernel_hostname(pod: &PodInfo, hostname: &str, domain: &str) -> String {
    if pod.spec().set_hostname_as_fqdn == Some(true) && !domain.is_empty() {
        format!("{hostname}.{domain}")
    } else {
        hostname.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::pod;
    use serde_json::{Value, json};

    const HOST: &str = "# the node\nnameserver 192.0.2.1\nsearch lan. corp\noptions ndots:1 edns0\n";

    fn text(spec: Value) -> String {
        let cluster =
            ClusterDns { servers: vec!["10.43.0.10".parse().expect("ip")], domain: "cluster.local".into() };
        for_pod(&pod(spec), &cluster, &DnsConfig::parse(HOST)).render()
    }

    #[test]
    fn policies() {
        let host = "search lan corp\nnameserver 192.0.2.1\noptions ndots:1 edns0\n";
        let cluster = "search ns.svc.cluster.local svc.cluster.local cluster.local lan corp\n\
                       nameserver 10.43.0.10\noptions ndots:5\n";
        let cases = [
            (json!({}), cluster),
            (json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), host),
            (json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), cluster),
            (json!({"dnsPolicy": "Default"}), host),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"],
                       "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]}}),
                "search x\nnameserver 1.1.1.1\noptions ndots:2 rotate\n",
            ),
            (
                json!({"dnsConfig": {"options": [{"name": "ndots", "value": "2"}], "searches": ["lan", "y"]}}),
                "search ns.svc.cluster.local svc.cluster.local cluster.local lan corp y\n\
                 nameserver 10.43.0.10\noptions ndots:2\n",
            ),
        ];
        for (index, (spec, want)) in cases.into_iter().enumerate() {
            assert_eq!(text(spec), want, "case {index}");
        }
    }

    #[test]
    fn servers_are_bounded() {
        let got = text(
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"]}}),
        );
        assert_eq!(got.lines().count(), 3);
    }

    #[test]
    fn names() {
        let long = "x".repeat(62) + "-yz";
        let cases = [
            (json!({}), ("p", "")),
            (json!({"hostname": "h", "subdomain": "s"}), ("h", "s.ns.svc.cluster.local")),
            (json!({"hostNetwork": true}), ("node", "")),
            (json!({"hostname": long}), (&long[..62], "")),
            (json!({"hostnameOverride": "o.example", "hostname": "h"}), ("o.example", "")),
        ];
        for (spec, (name, domain)) in cases {
            let got = hostname(&pod(spec), "node", "cluster.local");
            assert_eq!((got.0.as_str(), got.1.as_str()), (name, domain));
        }
    }
}
