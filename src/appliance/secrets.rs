//! The box's own secrets: the master key and the admin credential.

use std::{env, fs, io, path::Path};

use zeroize::Zeroizing;

use super::{
    BootError,
    data_dir::{refuse_if_open_to_others, write_private},
};
use crate::{common::sealing::MasterKey, features::identity::admin};

const MASTER_KEY_FILE: &str = "master.key";
const ADMIN_FILE: &str = "admin.sealed";
const ADMIN_PURPOSE: &str = "admin-key";
/// Name of the systemd credential (`LoadCredential=run402-master-key:…`) that replaces the key file.
const SYSTEMD_CREDENTIAL: &str = "run402-master-key";

/// The master key: from systemd if it hands one over, else from its file, made at first boot.
///
/// # Errors
/// One sentence when the file is readable by others or does not hold a key.
pub fn load_or_create_master_key(data_dir: &Path) -> Result<MasterKey, BootError> {
    match load_master_key(data_dir)? {
        Some(key) => Ok(key),
        None => {
            let key = MasterKey::generate();
            let path = data_dir.join(MASTER_KEY_FILE);
            write_private(&path, hex::encode(key.as_bytes()).as_bytes())
                .map_err(|error| BootError::io("write", &path, error))?;
            Ok(key)
        }
    }
}

fn load_master_key(data_dir: &Path) -> Result<Option<MasterKey>, BootError> {
    let credential =
        env::var_os("CREDENTIALS_DIRECTORY").map(|directory| Path::new(&directory).join(SYSTEMD_CREDENTIAL));
    let path = match credential.filter(|path| path.exists()) {
        Some(path) => path,
        None => {
            let path = data_dir.join(MASTER_KEY_FILE);
            if !path.try_exists().map_err(|error| BootError::io("inspect", &path, error))? {
                return Ok(None);
            }
            refuse_if_open_to_others(&path)?;
            path
        }
    };
    let text = Zeroizing::new(fs::read_to_string(&path).map_err(|error| BootError::io("read", &path, error))?);
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), &mut *bytes).map_err(|_| {
        BootError::new(format!("{} does not hold a master key (64 hexadecimal digits).", path.display()))
    })?;
    Ok(Some(MasterKey::from_bytes(*bytes)))
}

/// The admin credential of this box.
pub struct AdminCredential {
    pub key: Zeroizing<String>,
    /// Made just now: to be shown to the operator once.
    pub is_new: bool,
}

/// Opens the sealed admin key, making it at first boot.
///
/// # Errors
/// One sentence when the file cannot be read or was sealed by another box.
pub fn load_or_create_admin_credential(data_dir: &Path, master: &MasterKey) -> Result<AdminCredential, BootError> {
    let path = data_dir.join(ADMIN_FILE);
    match fs::read(&path) {
        Ok(sealed) => {
            let opened = master.open(ADMIN_PURPOSE, &sealed).map_err(|_| {
                BootError::new(format!("{} was not sealed with this box's master key.", path.display()))
            })?;
            let key = Zeroizing::new(String::from_utf8_lossy(&opened).into_owned());
            Ok(AdminCredential { key, is_new: false })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = Zeroizing::new(admin::generate_key());
            write_private(&path, &master.seal(ADMIN_PURPOSE, key.as_bytes()))
                .map_err(|error| BootError::io("write", &path, error))?;
            Ok(AdminCredential { key, is_new: true })
        }
        Err(error) => Err(BootError::io("read", &path, error)),
    }
}

/// `run402 admin token`: the admin key of a box that has booted at least once, for whoever may read its directory.
///
/// # Errors
/// One sentence when there is no box in the directory or it cannot be read.
pub fn read_admin_key(data_dir: &Path) -> Result<Zeroizing<String>, BootError> {
    let no_box = || {
        BootError::new(format!(
            "no box in {}: start `run402 serve --data-dir {}` once, or name its data directory.",
            data_dir.display(),
            data_dir.display()
        ))
    };
    let master = load_master_key(data_dir)?.ok_or_else(no_box)?;
    if !data_dir.join(ADMIN_FILE).exists() {
        return Err(no_box());
    }
    load_or_create_admin_credential(data_dir, &master).map(|credential| credential.key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let first = load_or_create_master_key(directory.path()).unwrap();
        let second = load_or_create_master_key(directory.path()).unwrap();
        assert_eq!(first.as_bytes(), second.as_bytes());
        let made = load_or_create_admin_credential(directory.path(), &first).unwrap();
        assert!(made.is_new);
        let read = load_or_create_admin_credential(directory.path(), &second).unwrap();
        assert!(!read.is_new);
        assert_eq!(*made.key, *read.key);
        assert_eq!(*read_admin_key(directory.path()).unwrap(), *made.key);
        let sealed = fs::read(directory.path().join(ADMIN_FILE)).unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("r402_admin_"));
    }

    #[test]
    fn a_readable_master_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        load_or_create_master_key(directory.path()).unwrap();
        let path = directory.path().join(MASTER_KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create_master_key(directory.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_directory_without_a_box_says_so() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read_admin_key(directory.path()).unwrap_err().to_string().contains("no box in"));
    }
}
