//! Refusals of what volumes are made of, for pods and for persistent volumes, in upstream's order.

use machinery::field::{Errors, FieldError, Path};
use machinery::names;
use serde_json::Value;

use super::super::check;
use super::super::core::validate_claim_spec;
use super::super::value::{flag, has, int, list, map, text};
use super::volumes::{descending, no_backsteps};
use super::{disks, projections};

/// A volume is one thing.
const NO_MORE_SOURCES: &str = "may not specify more than 1 volume type";

/// A kind of volume. Paths differ where upstream's do.
struct Source {
    field: &'static str,
    /// Where a second kind is refused.
    second: &'static str,
    /// Where what is in it is refused.
    inside: &'static str,
    /// Texts that must be there.
    required: &'static [&'static str],
    more: fn(&Value, Whose, &Path) -> Errors,
}

/// Whose volume it is.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Whose {
    /// A pod's.
    Pod,
    /// That of a pod that is made later.
    Template,
    /// The cluster's.
    Cluster,
}

const fn source(field: &'static str, required: &'static [&'static str]) -> Source {
    with(field, required, |_, _, _| Errors::new())
}

const fn with(
    field: &'static str,
    required: &'static [&'static str],
    more: fn(&Value, Whose, &Path) -> Errors,
) -> Source {
    Source { field, second: field, inside: field, required, more }
}

const HOST_PATH: Source = with("hostPath", &["path"], host_path);
const GCE: Source = Source { inside: "persistentDisk", ..with("gcePersistentDisk", &["pdName"], partition) };
const AWS: Source = with("awsElasticBlockStore", &["volumeID"], partition);
const NFS: Source = with("nfs", &["server", "path"], |nfs, _, path| {
    let place = text(nfs, "path");
    let wrong = !place.starts_with('/');
    let error = || FieldError::invalid(&path.child("path"), place, "must be an absolute path");
    wrong.then(error).into_iter().collect()
});
const ISCSI: Source = with("iscsi", &["targetPortal"], disks::iscsi);
const GLUSTERFS: Source = with("glusterfs", &["endpoints", "path"], endpoints_namespace);
const FLOCKER: Source = with("flocker", &[], disks::flocker);
const RBD: Source = with("rbd", &[], |rbd, _, path| {
    monitors(rbd, path).into_iter().chain(check::required(rbd, "image", path)).collect()
});
const CINDER: Source = with("cinder", &["volumeID"], disks::secret_ref);
const CEPHFS: Source = Source {
    second: "cephFS",
    ..with("cephfs", &[], |cephfs, _, path| monitors(cephfs, path).into_iter().collect())
};
const QUOBYTE: Source = with("quobyte", &[], disks::quobyte);
const FC: Source = with("fc", &[], disks::fibre_channel);
const FLEX: Source = with("flexVolume", &["driver"], flex_options);
const AZURE_FILE: Source = with("azureFile", &["secretName", "shareName"], |file, whose, path| {
    let named = file.get("secretNamespace").and_then(Value::as_str);
    let wrong = whose == Whose::Cluster && named == Some("");
    wrong.then(|| FieldError::required(&path.child("secretNamespace"), "")).into_iter().collect()
});
const VSPHERE: Source = source("vsphereVolume", &["volumePath"]);
const PHOTON: Source = source("photonPersistentDisk", &["pdID"]);
const PORTWORX: Source = source("portworxVolume", &["volumeID"]);
const AZURE_DISK: Source = with("azureDisk", &["diskName", "diskURI"], disks::azure);
const STORAGE_OS: Source = with("storageos", &["volumeName"], disks::storage_os);
const SCALE_IO: Source = source("scaleIO", &["gateway", "system", "volumeName"]);
const CSI: Source = with("csi", &[], disks::csi);

const OF_POD: [Source; 30] = [
    with("emptyDir", &[], size_limit),
    HOST_PATH,
    with("gitRepo", &["repository"], |repo, _, path| {
        descending(text(repo, "directory"), &path.child("directory"))
    }),
    GCE,
    AWS,
    with("secret", &["secretName"], files),
    NFS,
    ISCSI,
    GLUSTERFS,
    FLOCKER,
    source("persistentVolumeClaim", &["claimName"]),
    RBD,
    CINDER,
    CEPHFS,
    QUOBYTE,
    Source { second: "downwarAPI", ..with("downwardAPI", &[], fields_of_pod) },
    FC,
    FLEX,
    with("configMap", &["name"], files),
    AZURE_FILE,
    VSPHERE,
    PHOTON,
    PORTWORX,
    AZURE_DISK,
    STORAGE_OS,
    with("projected", &[], |volume, _, path| projections::projected(volume, path)),
    SCALE_IO,
    CSI,
    with("ephemeral", &[], claim_template),
    with("image", &[], image),
];

const OF_CLUSTER: [Source; 21] = [
    HOST_PATH,
    GCE,
    AWS,
    GLUSTERFS,
    FLOCKER,
    NFS,
    RBD,
    QUOBYTE,
    CEPHFS,
    ISCSI,
    CINDER,
    FC,
    FLEX,
    AZURE_FILE,
    VSPHERE,
    PHOTON,
    PORTWORX,
    AZURE_DISK,
    SCALE_IO,
    with("local", &["path"], |local, _, path| {
        no_backsteps(text(local, "path"), &path.child("path")).into_iter().collect()
    }),
    STORAGE_OS,
];

/// What a pod's volume is made of. `is_pod`: not that of a template.
pub(super) fn of_pod(volume: &Value, is_pod: bool, path: &Path) -> Errors {
    let whose = if is_pod { Whose::Pod } else { Whose::Template };
    let mut errors = one_of(volume, OF_POD.iter(), whose, path);
    let (iscsi, name) = (&volume["iscsi"], text(volume, "name"));
    errors.extend(
        disks::portal_too_long(iscsi, name).map(|why| FieldError::invalid(&path.child("name"), name, why)),
    );
    errors
}

/// What a persistent volume is made of. `name` is the volume's.
pub(in super::super) fn of_persistent_volume(spec: &Value, name: &str, path: &Path) -> Errors {
    let mut errors = one_of(spec, OF_CLUSTER.iter().chain([&CSI]), Whose::Cluster, path);
    let iscsi = &spec["iscsi"];
    errors.extend(disks::portal_too_long(iscsi, name).map(|why| {
        FieldError::invalid(&path.child("iscsi").child("targetportal"), text(iscsi, "targetPortal"), why)
    }));
    errors
}

fn one_of<'a>(
    volume: &Value,
    sources: impl Iterator<Item = &'a Source>,
    whose: Whose,
    path: &Path,
) -> Errors {
    let mut errors = Errors::new();
    let mut any = false;
    for source in sources.filter(|source| has(volume, source.field)) {
        // Upstream does not mind this one beside others of a cluster's volume.
        let beside = whose == Whose::Cluster && source.field == "flexVolume";
        if any && !beside {
            errors.push(FieldError::forbidden(&path.child(source.second), NO_MORE_SOURCES));
            continue;
        }
        any = true;
        let (inside, at) = (&volume[source.field], path.child(source.inside));
        errors.extend(source.required.iter().filter_map(|field| check::required(inside, field, &at)));
        errors.extend((source.more)(inside, whose, &at));
    }
    if !any {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    errors
}

fn size_limit(dir: &Value, _: Whose, path: &Path) -> Errors {
    let negative = machinery::quantity::Quantity::from_json(&dir["sizeLimit"]).is_ok_and(|q| q.is_negative());
    let detail = "SizeLimit field must be a valid resource quantity";
    negative.then(|| FieldError::forbidden(&path.child("sizeLimit"), detail)).into_iter().collect()
}

fn host_path(host: &Value, _: Whose, path: &Path) -> Errors {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let place = text(host, "path");
    if place.is_empty() {
        return Errors::new();
    }
    let mut errors: Errors = no_backsteps(place, &path.child("path")).into_iter().collect();
    errors.extend(check::enumeration(host, "type", &TYPES, path));
    errors
}

fn partition(disk: &Value, _: Whose, path: &Path) -> Errors {
    let partition = int(disk, "partition").unwrap_or_default();
    let error = || FieldError::invalid(&path.child("partition"), partition, names::range_error(1, 255));
    (!(0..=255).contains(&partition)).then(error).into_iter().collect()
}

fn endpoints_namespace(volume: &Value, whose: Whose, path: &Path) -> Errors {
    let named = volume.get("endpointsNamespace").and_then(Value::as_str);
    let Some(name) = named.filter(|_| whose == Whose::Cluster) else { return Errors::new() };
    let at = path.child("endpointsNamespace");
    if name.is_empty() {
        let detail = "if the endpointnamespace is set, it must be a valid namespace name";
        return vec![FieldError::invalid(&at, name, detail)];
    }
    check::named(&at, name, names::dns1123_label(name))
}

fn monitors(volume: &Value, path: &Path) -> Option<FieldError> {
    list(volume, "monitors").is_empty().then(|| FieldError::required(&path.child("monitors"), ""))
}

/// Options do not pretend to be Kubernetes' own.
fn flex_options(volume: &Value, _: Whose, path: &Path) -> Errors {
    let reserved = |key: &str| {
        let namespace = key.split('/').next().unwrap_or_default().to_lowercase();
        let within = |domain: &str| {
            namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        within("kubernetes.io") || within("k8s.io")
    };
    let options = map(volume, "options").into_iter().flatten();
    let refuse = |key: &String| {
        let detail = "kubernetes.io and k8s.io namespaces are reserved";
        FieldError::invalid(&path.child("options").key(key), key.as_str(), detail)
    };
    options.map(|(key, _)| key).filter(|key| reserved(key)).map(refuse).collect()
}

fn files(volume: &Value, _: Whose, path: &Path) -> Errors {
    let mode = projections::mode(volume, "defaultMode", path).into_iter();
    mode.chain(projections::keys(volume, path)).collect()
}

fn fields_of_pod(volume: &Value, _: Whose, path: &Path) -> Errors {
    let mode = projections::mode(volume, "defaultMode", path).into_iter();
    let items = list(volume, "items").iter();
    mode.chain(items.flat_map(|item| projections::field_file(item, path))).collect()
}

/// A claim that is made with the pod.
fn claim_template(volume: &Value, _: Whose, path: &Path) -> Errors {
    let (template, at) = (&volume["volumeClaimTemplate"], path.child("volumeClaimTemplate"));
    if !template.is_object() {
        return vec![FieldError::required(&at, "")];
    }
    let mut errors = check::template_metadata(&template["metadata"], &at.child("metadata"));
    errors.extend(validate_claim_spec(&template["spec"], &at.child("spec")));
    errors
}

fn image(image: &Value, whose: Whose, path: &Path) -> Errors {
    const POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
    let reference = text(image, "reference");
    let mut errors = Errors::new();
    if whose == Whose::Pod {
        errors.extend(check::required(image, "reference", path));
    }
    errors.extend(check::one_of(image, "pullPolicy", &POLICIES, path));
    if whose == Whose::Pod && reference.trim() != reference {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(&path.child("reference"), reference, detail));
    }
    errors
}

/// Whether a flag of a volume asks for a secret that is not named.
pub(super) fn secret_missing(volume: &Value, flags: &[&str]) -> bool {
    flags.iter().any(|field| flag(volume, field)) && !has(volume, "secretRef")
}
