//! What most tests need first: money, a tier, a project.

use serde_json::{Value, json};

use super::{Answer, Api, Appliance, Wallet, payment::TESTNET_USDC};

/// Base Sepolia, where the box's own tokens live.
pub const RPC: &str = "/rpc/v1/base-sepolia";
pub const FAUCET_AMOUNT: u64 = 250_000;
pub const PROTOTYPE_PRICE: u64 = 100_000;

impl Api {
    /// A new wallet with one drip of the faucet: enough for two prototype leases.
    pub async fn funded_wallet(&self) -> Wallet {
        let wallet = Wallet::random();
        self.post("/faucet/v1").json(&json!({"address": wallet.checksummed()})).send().await.is(200);
        wallet
    }

    /// Testnet money beyond what the faucet gives.
    pub async fn mint(&self, appliance: &Appliance, wallet: &Wallet, amount: u64) {
        self.post("/admin/v1/ledger/mint")
            .admin_key(&appliance.admin_key())
            .json(&json!({"address": wallet.lower(), "amount_usd_micros": amount}))
            .send()
            .await
            .ok();
    }

    /// Moves an organisation's prepaid balance.
    pub async fn credit(&self, appliance: &Appliance, organisation: &str, amount: i64) -> Value {
        self.post(&format!("/admin/v1/orgs/{organisation}/credit"))
            .admin_key(&appliance.admin_key())
            .json(&json!({"amount_usd_micros": amount, "note": "test"}))
            .send()
            .await
            .ok()
    }

    /// Pays for a tier out of the wallet.
    pub async fn subscribe(&self, wallet: &Wallet, tier: &str) -> Answer {
        self.post(&format!("/tiers/v1/{tier}")).wallet(wallet).json(&json!({})).paid_by(wallet).await
    }

    /// A new wallet with money and a prototype lease.
    pub async fn subscriber(&self) -> Wallet {
        let wallet = self.funded_wallet().await;
        self.subscribe(&wallet, "prototype").await.ok();
        wallet
    }

    /// The organisation a wallet acts for.
    pub async fn organisation_of(&self, wallet: &Wallet) -> String {
        let found = self.get(&format!("/orgs/v1/lookup?wallet={}", wallet.lower())).wallet(wallet).send().await.is(200);
        found["org_id"].as_str().expect("an id").to_owned()
    }

    /// Testnet USDC of an address, as a wallet reads it from the chain.
    pub async fn token_balance(&self, address: &str) -> u64 {
        let data = format!("0x70a08231{:0>64}", address.trim_start_matches("0x").to_ascii_lowercase());
        let answer = self
            .post(RPC)
            .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call",
                          "params": [{"data": data, "to": TESTNET_USDC}, "latest"]}))
            .send()
            .await
            .is(200);
        let word = answer["result"].as_str().unwrap_or_else(|| panic!("no result: {answer}"));
        assert_eq!(word.len(), 66, "a 32-byte word: {word}");
        u64::from_str_radix(&word[50..], 16).expect("hexadecimal")
    }

    /// A project of a new subscriber.
    pub async fn provision(&self) -> Project {
        let owner = self.subscriber().await;
        self.provision_for(&owner, "test").await
    }

    pub async fn provision_for(&self, owner: &Wallet, name: &str) -> Project {
        let made = self.post("/projects/v1").wallet(owner).json(&json!({"name": name})).send().await.ok();
        Project::of(self, owner, &made)
    }
}

/// A provisioned project with its keys.
#[derive(Clone)]
pub struct Project {
    pub api: Api,
    pub owner: Wallet,
    pub id: String,
    pub slot: String,
    pub anon_key: String,
    pub service_key: String,
}

impl Project {
    pub fn of(api: &Api, owner: &Wallet, made: &Value) -> Self {
        let text = |key: &str| made[key].as_str().unwrap_or_else(|| panic!("{key} in {made}")).to_owned();
        Self {
            api: api.clone(),
            owner: owner.clone(),
            id: text("project_id"),
            slot: text("schema_slot"),
            anon_key: text("anon_key"),
            service_key: text("service_key"),
        }
    }

    /// The same project through another client, after its box has moved to another port.
    #[must_use]
    pub fn through(&self, api: &Api) -> Self {
        Self { api: api.clone(), ..self.clone() }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/projects/v1/admin/{}/{rest}", self.id)
    }

    /// SQL as the SDK sends it without parameters.
    pub async fn sql(&self, text: &str) -> Answer {
        self.api.post(&self.path("sql")).bearer(&self.service_key).text(text).send().await
    }

    pub async fn try_sql(&self, text: &str) -> Result<Answer, reqwest::Error> {
        self.api.post(&self.path("sql")).bearer(&self.service_key).text(text).try_send().await
    }

    /// SQL as the SDK sends it with parameters.
    pub async fn sql_with(&self, text: &str, params: Value) -> Answer {
        let body = json!({"sql": text, "params": params});
        self.api.post(&self.path("sql")).bearer(&self.service_key).json(&body).send().await
    }

    /// The only value of the only row.
    pub async fn value(&self, text: &str) -> Value {
        let body = self.sql(text).await.is(200);
        let row = body["rows"][0].as_object().unwrap_or_else(|| panic!("no row: {body}"));
        row.values().next().expect("a column").clone()
    }

    pub async fn schema(&self) -> Value {
        self.api.get(&self.path("schema")).bearer(&self.service_key).send().await.is(200)
    }

    pub async fn usage(&self) -> Value {
        self.api.get(&self.path("usage")).bearer(&self.service_key).send().await.is(200)
    }
}
