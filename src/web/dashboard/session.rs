//! [`Sessions`]: who has signed in. They live in memory: a new start signs everybody out.
//!
//! The browser holds a handle of 256 random bits; here it is kept as its hash, so that neither a look into memory
//! nor the time of a comparison gives one away. Such a handle needs no signature: it cannot be made up.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// How long somebody stays signed in.
const LASTS: Duration = Duration::from_secs(8 * 3_600);

/// Sessions at a time; beyond it the oldest one ends.
const SESSIONS_MAX: usize = 1_000;

/// Sign-ins under way, and how long one may take.
const UNDERWAY_MAX: usize = 1_000;
const UNDERWAY_FOR: Duration = Duration::from_secs(600);

/// The names of the cookies. `__Host-` binds them to this host and to TLS.
const COOKIE: &str = "mneme";
const SIGN_IN_COOKIE: &str = "mneme-sign-in";
const HOST_PREFIX: &str = "__Host-";

/// Somebody who has signed in.
#[derive(Debug)]
pub struct Session {
    pub person_id: u64,
    pub name: String,
    /// The servers that Discord said they manage when they signed in. Asked for again on each visit.
    pub servers: BTreeSet<u64>,
    /// Stands in every form of this session.
    pub csrf: String,
    since: Instant,
}

impl Session {
    pub fn new(person_id: u64, name: String, servers: BTreeSet<u64>) -> Self {
        Self { person_id, name, servers, csrf: secret(), since: Instant::now() }
    }
}

/// A sign-in that has gone to Discord and not come back yet.
#[derive(Clone, Debug)]
pub struct Underway {
    /// The other half is a cookie: a state that somebody else began is worth nothing here.
    browser: [u8; 32],
    /// For PKCE.
    pub verifier: String,
    since: Instant,
}

/// Those who are in, and those on their way.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By the hash of the handle.
    sessions: HashMap<[u8; 32], Arc<Session>>,
    /// By the hash of the state.
    underway: HashMap<[u8; 32], Underway>,
    /// Whether cookies are for TLS alone.
    secure: bool,
}

/// 256 random bits as text.
fn secret() -> String {
    let mut bytes = [0; 32];
    OsRng.try_fill_bytes(&mut bytes).expect("the system has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// What the browser is to send when a sign-in begins: the state, the challenge, and the cookie.
pub struct Begun {
    pub state: String,
    pub challenge: String,
    pub cookie: String,
}

impl Sessions {
    pub fn new(secure: bool) -> Self {
        Self(Mutex::new(Kept { secure, ..Kept::default() }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sign-in begins.
    pub fn begin(&self) -> Begun {
        let (state, browser, verifier) = (secret(), secret(), secret());
        let challenge = URL_SAFE_NO_PAD.encode(hash(&verifier));
        let mut kept = self.kept();
        kept.underway.retain(|_, underway| underway.since.elapsed() < UNDERWAY_FOR);
        if kept.underway.len() >= UNDERWAY_MAX {
            // Somebody floods; whoever was on their way begins again.
            kept.underway.clear();
        }
        let underway = Underway { browser: hash(&browser), verifier, since: Instant::now() };
        kept.underway.insert(hash(&state), underway);
        let cookie = kept.cookie(SIGN_IN_COOKIE, &browser, UNDERWAY_FOR);
        Begun { state, challenge, cookie }
    }

    /// A sign-in comes back: once, and to the browser that began it.
    pub fn come_back(&self, state: &str, headers: &HeaderMap) -> Option<Underway> {
        let mut kept = self.kept();
        let browser = cookie(headers, &kept.name(SIGN_IN_COOKIE))?;
        // Looked at before it is taken: a state that somebody stole does not end the sign-in of its owner.
        let known = kept.underway.get(&hash(state))?;
        if known.browser != hash(&browser) || known.since.elapsed() >= UNDERWAY_FOR {
            return None;
        }
        kept.underway.remove(&hash(state))
    }

    /// Somebody is in; the cookies that say so.
    pub fn open(&self, session: Session) -> [String; 2] {
        let handle = secret();
        let mut kept = self.kept();
        kept.sessions.retain(|_, session| session.since.elapsed() < LASTS);
        if kept.sessions.len() >= SESSIONS_MAX {
            let oldest = kept.sessions.iter().min_by_key(|(_, session)| session.since).map(|(key, _)| *key);
            oldest.map(|oldest| kept.sessions.remove(&oldest));
        }
        kept.sessions.insert(hash(&handle), Arc::new(session));
        [kept.cookie(COOKIE, &handle, LASTS), kept.cookie(SIGN_IN_COOKIE, "", Duration::ZERO)]
    }

    /// Who sends this request.
    pub fn of(&self, headers: &HeaderMap) -> Option<Arc<Session>> {
        let kept = self.kept();
        let handle = cookie(headers, &kept.name(COOKIE))?;
        let session = kept.sessions.get(&hash(&handle))?;
        (session.since.elapsed() < LASTS).then(|| session.clone())
    }

    /// Somebody leaves; the cookie that says so.
    pub fn close(&self, headers: &HeaderMap) -> String {
        let mut kept = self.kept();
        if let Some(handle) = cookie(headers, &kept.name(COOKIE)) {
            kept.sessions.remove(&hash(&handle));
        }
        kept.cookie(COOKIE, "", Duration::ZERO)
    }
}

impl Kept {
    fn name(&self, name: &str) -> String {
        if self.secure { format!("{HOST_PREFIX}{name}") } else { name.to_owned() }
    }

    /// Lax, not strict: the way back from Discord is a link from another site.
    fn cookie(&self, name: &str, value: &str, lasts: Duration) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let (name, seconds) = (self.name(name), lasts.as_secs());
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The headers of a browser that was sent these cookies.
    fn with(cookies: &[&str]) -> HeaderMap {
        let pairs: Vec<&str> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
        HeaderMap::from_iter([(header::COOKIE, pairs.join("; ").parse().unwrap())])
    }

    fn somebody() -> Session {
        Session::new(5, "ann".into(), BTreeSet::new())
    }

    #[test]
    fn a_session_is_known_by_its_cookie_until_it_is_closed() {
        let sessions = Sessions::new(true);
        let [cookie, _] = sessions.open(somebody());
        assert!(
            cookie.starts_with("__Host-mneme=") && cookie.ends_with("HttpOnly; SameSite=Lax; Secure"),
            "{cookie}"
        );
        assert_eq!(sessions.of(&with(&[&cookie])).unwrap().person_id, 5);
        for other in ["__Host-mneme=x", "mneme=x", "__Host-mneme="] {
            assert!(sessions.of(&with(&[other])).is_none(), "{other}");
        }
        sessions.close(&with(&[&cookie]));
        assert!(sessions.of(&with(&[&cookie])).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_after_hours() {
        let sessions = Sessions::default();
        let [cookie, _] = sessions.open(somebody());
        tokio::time::advance(LASTS).await;
        assert!(sessions.of(&with(&[&cookie])).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_in_comes_back_once_in_time_and_to_its_own_browser() {
        let sessions = Sessions::default();
        let (mine, theirs) = (sessions.begin(), sessions.begin());
        assert!(sessions.come_back(&mine.state, &with(&[&theirs.cookie])).is_none(), "a stolen state");
        assert!(sessions.come_back(&mine.state, &HeaderMap::new()).is_none(), "no cookie");
        assert!(sessions.come_back("made-up", &with(&[&mine.cookie])).is_none());
        let back = sessions.come_back(&mine.state, &with(&[&mine.cookie])).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(hash(&back.verifier)), mine.challenge);
        assert!(sessions.come_back(&mine.state, &with(&[&mine.cookie])).is_none(), "once");
        tokio::time::advance(UNDERWAY_FOR).await;
        assert!(sessions.come_back(&theirs.state, &with(&[&theirs.cookie])).is_none(), "late");
    }

    #[test]
    fn neither_list_grows_for_ever() {
        let sessions = Sessions::default();
        for _ in 0..UNDERWAY_MAX + 5 {
            sessions.begin();
            sessions.open(somebody());
        }
        let kept = sessions.kept();
        assert!(kept.underway.len() <= UNDERWAY_MAX && kept.sessions.len() <= SESSIONS_MAX);
    }
}
