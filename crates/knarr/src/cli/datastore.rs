//! The arguments that say where objects are kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::cluster::Datastore;

#[derive(Args)]
pub(super) struct DatastoreOptions {
    /// Where objects are kept: etcd://HOST[:PORT][,HOST[:PORT]...]; later starts keep it [default: in the data directory]
    #[arg(long, value_name = "URL")]
    datastore: Option<String>,
    /// CA of the datastore's certificates, PEM; turns TLS on
    #[arg(long, value_name = "FILE", requires = "datastore")]
    datastore_cafile: Option<PathBuf>,
    /// Certificate to show to the datastore, PEM
    #[arg(long, value_name = "FILE", requires_all = ["datastore_cafile", "datastore_keyfile"])]
    datastore_certfile: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "datastore_certfile")]
    datastore_keyfile: Option<PathBuf>,
    /// Name of the datastore's user, if it wants to know one
    #[arg(long, value_name = "NAME", requires_all = ["datastore", "datastore_password_file"])]
    datastore_username: Option<String>,
    /// File with that user's password
    #[arg(long, value_name = "FILE", requires = "datastore_username")]
    datastore_password_file: Option<PathBuf>,
}

impl DatastoreOptions {
    /// What was given, if anything; an error when it cannot be used. Later starts may be elsewhere, so that paths are absolute.
    pub(super) fn datastore(&self) -> anyhow::Result<Option<Datastore>> {
        let Some(url) = self.datastore.clone() else { return Ok(None) };
        let identity = self.datastore_certfile.as_deref().zip(self.datastore_keyfile.as_deref());
        let user = self.datastore_username.as_ref().zip(self.datastore_password_file.as_deref());
        let datastore = Datastore {
            url,
            ca_file: self.datastore_cafile.as_deref().map(absolute).transpose()?,
            identity: identity
                .map(|(certificate, key)| anyhow::Ok((absolute(certificate)?, absolute(key)?)))
                .transpose()?,
            user: user.map(|(name, file)| anyhow::Ok((name.clone(), absolute(file)?))).transpose()?,
        };
        datastore.options()?;
        Ok(Some(datastore))
    }

    /// Gives the same to another process.
    pub(super) fn pass_on(&self, command: &mut Command) {
        if let Some(url) = &self.datastore {
            command.args(["--datastore", url]);
        }
        if let Some(name) = &self.datastore_username {
            command.args(["--datastore-username", name]);
        }
        for (flag, file) in [
            ("--datastore-cafile", &self.datastore_cafile),
            ("--datastore-certfile", &self.datastore_certfile),
            ("--datastore-keyfile", &self.datastore_keyfile),
            ("--datastore-password-file", &self.datastore_password_file),
        ] {
            if let Some(file) = file {
                command.arg(flag).arg(file);
            }
        }
    }
}

fn absolute(file: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(file).with_context(|| format!("failed to resolve {}", file.display()))
}
