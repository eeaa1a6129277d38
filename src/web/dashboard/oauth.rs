//! Signing in with Discord: the authorization code grant with PKCE.
//! <https://discord.com/developers/docs/topics/oauth2#authorization-code-grant>
//!
//! Discord is asked who somebody is and which servers they manage; then its token is given back. Nothing of it is
//! stored, and nothing of it is logged.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::Url;
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::web::dashboard::door::SIGNED_IN;
use crate::web::dashboard::session::{Begun, Session};

/// Somebody waits in front of an empty page.
const LIMIT: Duration = Duration::from_secs(10);

/// Who they are, and where they are.
const SCOPE: &str = "identify guilds";

/// Discord's permissions that make somebody an admin here: Administrator and Manage Server.
const ADMIN: u64 = 1 << 3 | 1 << 5;

/// Where the dashboard is served to people who sign in, and by which application of Discord's.
#[derive(Debug)]
pub struct Public {
    origin: String,
    host: String,
    client_id: u64,
    client_secret: SecretString,
    /// Where people are sent, and where we ask.
    pages: String,
    api: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    username: String,
    global_name: Option<String>,
}

#[derive(Deserialize)]
struct Guild {
    id: String,
    #[serde(default)]
    owner: bool,
    #[serde(default)]
    permissions: String,
}

impl Public {
    /// `url` is what people type; `discord` another server that speaks Discord's protocol.
    pub fn new(
        url: &Url,
        client_id: u64,
        client_secret: SecretString,
        discord: Option<&str>,
    ) -> anyhow::Result<Self> {
        let host = url.host_str().context("the address of the dashboard has a host")?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let discord = discord.unwrap_or("https://discord.com").trim_end_matches('/');
        // The secret goes to Discord and to nobody that Discord might name.
        let http = reqwest::Client::builder().timeout(LIMIT).redirect(Policy::none()).build()?;
        Ok(Self {
            origin: format!("{}://{host}", url.scheme()),
            host,
            client_id,
            client_secret,
            pages: discord.to_owned(),
            api: format!("{discord}/api/v10"),
            http,
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether cookies are for TLS alone.
    pub fn is_secure(&self) -> bool {
        self.origin.starts_with("https:")
    }

    fn back(&self) -> String {
        format!("{}{SIGNED_IN}", self.origin)
    }

    /// Where somebody is sent who wants to sign in.
    pub fn way_in(&self, begun: &Begun) -> anyhow::Result<Url> {
        let query = [
            ("response_type", "code"),
            ("client_id", &self.client_id.to_string()),
            ("scope", SCOPE),
            ("redirect_uri", &self.back()),
            ("state", &begun.state),
            ("code_challenge", &begun.challenge),
            ("code_challenge_method", "S256"),
        ];
        Ok(Url::parse_with_params(&format!("{}/oauth2/authorize", self.pages), query)?)
    }

    /// Who came back with this code.
    pub async fn who(&self, code: &str, verifier: &str) -> anyhow::Result<Session> {
        let token = self.exchange(code, verifier).await?;
        let asked = futures::try_join!(
            self.ask::<User>("/users/@me", &token),
            self.ask::<Vec<Guild>>("/users/@me/guilds", &token)
        );
        // Whatever came of it: the token is not needed any more.
        self.give_back(&token).await;
        let (user, guilds) = asked?;
        let admin = |guild: &Guild| {
            guild.owner || guild.permissions.parse::<u64>().is_ok_and(|permissions| permissions & ADMIN != 0)
        };
        let servers: BTreeSet<u64> =
            guilds.iter().filter(|guild| admin(guild)).filter_map(|guild| guild.id.parse().ok()).collect();
        let id = user.id.parse().context("the id of a person is a number")?;
        ensure!(id != 0, "the id of a person is not 0");
        Ok(Session::new(id, user.global_name.unwrap_or(user.username), servers))
    }

    async fn exchange(&self, code: &str, verifier: &str) -> anyhow::Result<String> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.back()),
            ("code_verifier", verifier),
        ];
        let request = self.http.post(format!("{}/oauth2/token", self.api)).form(&form);
        let token: Token = answer(self.as_application(request)).await.context("exchange the code")?;
        Ok(token.access_token)
    }

    fn as_application(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.basic_auth(self.client_id, Some(self.client_secret.expose_secret()))
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&self, path: &str, token: &str) -> anyhow::Result<T> {
        let request = self.http.get(format!("{}{path}", self.api)).bearer_auth(token);
        answer(request).await.with_context(|| format!("ask for {path}"))
    }

    async fn give_back(&self, token: &str) {
        let form = [("token", token), ("token_type_hint", "access_token")];
        let request = self.http.post(format!("{}/oauth2/token/revoke", self.api)).form(&form);
        if let Err(error) = self.as_application(request).send().await {
            // It ends by itself within a week, and is nowhere by now.
            tracing::debug!(error = %error.without_url(), "a token could not be given back");
        }
    }
}

async fn answer<T: for<'de> Deserialize<'de>>(request: reqwest::RequestBuilder) -> anyhow::Result<T> {
    let response = request.send().await.map_err(reqwest::Error::without_url)?;
    if !response.status().is_success() {
        bail!("Discord answers {}", response.status().as_u16());
    }
    let text = response.text().await.map_err(reqwest::Error::without_url)?;
    serde_json::from_str(&text).map_err(|_| anyhow::anyhow!("Discord's answer could not be read"))
}
