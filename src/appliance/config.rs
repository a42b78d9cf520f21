//! Configuration: command line over environment over file over defaults.
//!
//! Every setting has a default that works offline. A key nobody knows is an error in every layer, because a
//! misspelt limit that silently does nothing is worse than a refusal to start.
//!
//! | layer | form |
//! |---|---|
//! | file | `run402.toml` in the data directory, or the one `--config` names |
//! | environment | `RUN402_LISTEN`, `RUN402_FAUCET__COOLDOWN_SECONDS` (two underscores go one table deeper) |
//! | command line | `--listen …`, and `--set faucet.cooldown_seconds=0` for any key |

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use url::Url;

use super::BootError;
use crate::{
    common::{Network, WalletAddress},
    edge::{HttpSettings, LogSettings},
    engines::{blobs::BlobSettings, postgres::ClusterSettings, sandbox::SandboxSettings},
    features::{
        apply::{ApplySettings, TestingSettings},
        assets::AssetSettings,
        auth::AuthSettings,
        billing::PriceSettings,
        content::ContentSettings,
        functions::{self, FunctionSettings},
        hosts::SubdomainSettings,
        orgs::LeaseSettings,
        payments::{BillingSettings, FaucetSettings, PaymentSettings},
        projects::{LimitSettings, ProjectSettings, RateSettings},
        rest::RestSettings,
        sites::SiteSettings,
        sql::SqlSettings,
        status::OperatorSettings,
        tiers::TierSettings,
    },
};

const ENV_PREFIX: &str = "RUN402_";
/// Variables of the client tools, and of our own build, that share the prefix.
const CLIENT_VARIABLES: [&str; 6] = ["API_BASE", "CONFIG_DIR", "WALLET", "PROFILE", "ALLOWANCE_PATH", "BUNDLE_CACHE"];

/// Every setting of the appliance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept. Default: `/var/lib/run402` as root, else `$XDG_DATA_HOME/run402`.
    pub data_dir: PathBuf,
    /// Address and port of the API. Port 0 picks a free one.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// Base domain: projects live on its subdomains, the API on `api.<domain>` (on the bare name for `localhost`).
    pub domain: String,
    /// Service user when started as root. Default: `run402` if it exists, else `nobody`.
    pub user: Option<String>,
    /// Public base URL of the API. Default: `http://localhost:<port>`, or `https://api.<domain>`.
    pub public_url: Option<Url>,
    /// Proxies whose `X-Forwarded-*` headers are believed: addresses, or networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<Network>,
    /// Further host names that wallet signatures may name (contract 01 §2.3).
    pub siwx_accept_domains: Vec<String>,
    pub admin: AdminSettings,
    pub lease: LeaseSettings,
    pub http: HttpSettings,
    pub log: LogSettings,
    pub operator: OperatorSettings,
    pub postgres: ClusterSettings,
    pub blobs: BlobSettings,
    pub tiers: TierSettings,
    pub prices: PriceSettings,
    pub payments: PaymentSettings,
    pub faucet: FaucetSettings,
    pub billing: BillingSettings,
    pub projects: ProjectSettings,
    pub rate_limits: RateSettings,
    pub limits: LimitSettings,
    pub sql: SqlSettings,
    pub rest: RestSettings,
    pub auth: AuthSettings,
    pub content: ContentSettings,
    pub assets: AssetSettings,
    pub apply: ApplySettings,
    pub functions: FunctionSettings,
    pub sandbox: SandboxSettings,
    /// For tests of this program only: makes deploys fail or the process die at named points. Leave it empty.
    pub testing: TestingSettings,
    pub subdomains: SubdomainSettings,
    pub sites: SiteSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4020)),
            domain: "localhost".into(),
            user: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            siwx_accept_domains: Vec::new(),
            admin: AdminSettings::default(),
            lease: LeaseSettings::default(),
            http: HttpSettings::default(),
            log: LogSettings::default(),
            operator: OperatorSettings::default(),
            postgres: ClusterSettings::default(),
            blobs: BlobSettings::default(),
            tiers: TierSettings::default(),
            prices: PriceSettings::default(),
            payments: PaymentSettings::default(),
            faucet: FaucetSettings::default(),
            billing: BillingSettings::default(),
            projects: ProjectSettings::default(),
            rate_limits: RateSettings::default(),
            limits: LimitSettings::default(),
            sql: SqlSettings::default(),
            rest: RestSettings::default(),
            auth: AuthSettings::default(),
            content: ContentSettings::default(),
            assets: AssetSettings::default(),
            apply: ApplySettings::default(),
            functions: FunctionSettings::default(),
            sandbox: SandboxSettings::default(),
            testing: TestingSettings::default(),
            subdomains: SubdomainSettings::default(),
            sites: SiteSettings::default(),
        }
    }
}

/// Who may use the admin routes besides the holder of the box's admin key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Wallets that are platform admin when they send `X-Admin-Mode: 1`.
    pub wallets: Vec<WalletAddress>,
    /// SHA-256 (hexadecimal) of an admin key to accept instead of the generated one.
    pub key_hash: Option<String>,
}

/// What the command line sets.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub data_dir: Option<PathBuf>,
    pub listen: Option<String>,
    pub domain: Option<String>,
    pub user: Option<String>,
    pub config: Option<PathBuf>,
    /// `key=value` pairs, in order.
    pub set: Vec<String>,
}

impl Config {
    /// Puts the layers together.
    ///
    /// # Errors
    /// One sentence naming the key, variable or file that is wrong.
    pub fn load(overrides: &Overrides) -> Result<Self, BootError> {
        let environment = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter_map(|(name, value)| Some((name.strip_prefix(ENV_PREFIX)?.to_owned(), value)));
        Self::from_layers(overrides, environment)
    }

    fn from_layers(
        overrides: &Overrides,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, BootError> {
        let mut above_file = Table::new();
        let mut config_path = overrides.config.clone();
        for (name, value) in environment {
            match name.as_str() {
                "CONFIG" => config_path = config_path.or_else(|| Some(PathBuf::from(value))),
                name if CLIENT_VARIABLES.contains(&name) => {}
                name => {
                    let key = name.to_ascii_lowercase().replace("__", ".");
                    insert(&mut above_file, &key, &value)
                        .map_err(|error| BootError::new(format!("{ENV_PREFIX}{name}: {error}")))?;
                }
            }
        }
        let data_dir = overrides.data_dir.as_ref().map(|path| path.to_string_lossy().into_owned());
        let flags = [
            ("data_dir", &data_dir),
            ("listen", &overrides.listen),
            ("domain", &overrides.domain),
            ("user", &overrides.user),
        ];
        for (key, value) in flags {
            if let Some(value) = value {
                above_file.insert(key.into(), Value::String(value.clone()));
            }
        }
        for pair in &overrides.set {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| BootError::new(format!("--set {pair}: write it as key=value.")))?;
            insert(&mut above_file, key.trim(), value.trim())
                .map_err(|error| BootError::new(format!("--set {pair}: {error}")))?;
        }
        let mut table = read_file(config_path.as_deref(), &above_file)?;
        merge(&mut table, above_file);
        let config: Self = serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
            let reason = error.inner().message().trim_end_matches('.').to_owned();
            BootError::new(format!("configuration, {}: {reason}.", error.path()))
        })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), BootError> {
        let domain_ok = !self.domain.is_empty()
            && self
                .domain
                .split('.')
                .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        if !domain_ok {
            return Err(BootError::new(format!("domain: {:?} is not a domain name.", self.domain)));
        }
        if let Some(url) = &self.public_url
            && (!matches!(url.scheme(), "http" | "https") || url.host().is_none())
        {
            return Err(BootError::new("public_url: give an http or https URL with a host."));
        }
        // Each level of nested calls has as many places, and each place an instance; a deploy takes two.
        let needed = self.functions.running.saturating_mul(functions::LEVELS).saturating_add(2);
        if usize::try_from(self.sandbox.max_instances).unwrap_or(usize::MAX) < needed {
            return Err(BootError::new(format!(
                "sandbox.max_instances: functions.running = {} needs at least {needed}.",
                self.functions.running
            )));
        }
        Ok(())
    }

    /// The base URL clients use, given the port the API really listens on.
    pub fn public_url(&self, port: u16) -> Result<Url, BootError> {
        if let Some(url) = &self.public_url {
            return Ok(url.clone());
        }
        let text = if self.domain == "localhost" {
            format!("http://localhost:{port}")
        } else {
            format!("https://api.{}", self.domain)
        };
        Url::parse(&text).map_err(|error| BootError::new(format!("domain: cannot make a URL of it: {error}.")))
    }
}

/// Reads an address and quotes it when it is not one.
fn listen_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| serde::de::Error::custom(format!("{text:?} is not an address and port such as 127.0.0.1:4020")))
}

fn default_data_dir() -> PathBuf {
    if geteuid().is_root() {
        return PathBuf::from("/var/lib/run402");
    }
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    env::var_os("XDG_DATA_HOME").map_or_else(|| home.join(".local/share"), PathBuf::from).join("run402")
}

/// Reads the named file, or `run402.toml` in the data directory if there is one.
fn read_file(named: Option<&Path>, above_file: &Table) -> Result<Table, BootError> {
    let data_dir = above_file.get("data_dir").and_then(Value::as_str).map_or_else(default_data_dir, PathBuf::from);
    let path = named.map_or_else(|| data_dir.join("run402.toml"), Path::to_owned);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(Table::new()),
        Err(error) => return Err(BootError::io("read", &path, error)),
    };
    text.parse().map_err(|error: toml::de::Error| BootError::new(format!("{}: {}", path.display(), error.message())))
}

/// Sets a dotted key. The value is read as TOML (`5`, `true`, `["a"]`) and as plain text when it is not that.
fn insert(table: &mut Table, key: &str, value: &str) -> Result<(), String> {
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().filter(|last| !last.is_empty()).ok_or("the key is empty.")?;
    let mut table = table;
    for part in parts {
        if part.is_empty() {
            return Err("the key has an empty part.".into());
        }
        let entry = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        table = entry.as_table_mut().ok_or_else(|| format!("{part} is a value, not a table."))?;
    }
    let value = format!("v={value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(value.into()));
    table.insert(last.into(), value);
    Ok(())
}

/// Lays `above` over `below`, table by table.
fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(set: &[&str], environment: &[(&str, &str)], file: &str) -> Result<Config, BootError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run402.toml");
        fs::write(&path, file).unwrap();
        let overrides = Overrides {
            config: Some(path),
            set: set.iter().map(ToString::to_string).collect(),
            ..Overrides::default()
        };
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_layers(&overrides, environment)
    }

    #[test]
    fn later_layers_win() {
        let file = "listen = \"127.0.0.1:1\"\n[lease]\nenforce = true\npurge_enabled = false\n";
        let config = load(&[], &[], file).unwrap();
        assert_eq!((config.listen.port(), config.lease.enforce, config.lease.purge_enabled), (1, true, false));
        let config = load(&[], &[("LISTEN", "127.0.0.1:2"), ("LEASE__ENFORCE", "false")], file).unwrap();
        assert_eq!((config.listen.port(), config.lease.enforce, config.lease.purge_enabled), (2, false, false));
        let config = load(&["listen=127.0.0.1:3", "lease.enforce=true"], &[("LISTEN", "127.0.0.1:2")], file).unwrap();
        assert_eq!((config.listen.port(), config.lease.enforce), (3, true));
    }

    #[test]
    fn mistakes_are_named() {
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str, &'a str);
        let cases: [Case<'_>; 10] = [
            (&["lease.enforced=true"], &[], "", "enforced"),
            (&["nonsense=1"], &[], "", "nonsense"),
            (&["lease"], &[], "", "key=value"),
            (&["=1"], &[], "", "empty"),
            (&[], &[("NONSENSE", "1")], "", "nonsense"),
            (&[], &[], "colour = 1", "colour"),
            (&[], &[], "listen = ", "run402.toml"),
            (&["domain=exa mple"], &[], "", "domain"),
            (&["listen=everywhere"], &[], "", "everywhere"),
            (&["faucet.cooldown_seconds=soon"], &[], "", "faucet.cooldown_seconds"),
        ];
        for (set, environment, file, word) in cases {
            let error = load(set, environment, file).unwrap_err().to_string();
            assert!(error.contains(word), "{error} should name {word}");
        }
    }

    #[test]
    fn variables_of_the_client_tools_are_not_settings() {
        assert!(load(&[], &[("API_BASE", "http://localhost:4020"), ("WALLET", "main")], "").is_ok());
    }

    #[test]
    fn public_url_follows_domain_and_port() {
        let url = |set: &[&str]| load(set, &[], "").unwrap().public_url(4020).unwrap().to_string();
        assert_eq!(url(&[]), "http://localhost:4020/");
        assert_eq!(url(&["domain=example.com"]), "https://api.example.com/");
        assert_eq!(url(&["public_url=http://10.0.0.1:8080"]), "http://10.0.0.1:8080/");
    }
}
