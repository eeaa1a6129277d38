//! `mneme health`: asks the bot on this machine how it is. An image without a shell has nothing else to ask
//! with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{bail, ensure};

use crate::finding::root_cause;

/// The bot answers from memory; one that takes longer is not well.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What the bot that serves its health at `http` answers; an error unless it is well.
pub async fn ask_health(http: Option<SocketAddr>, ready: bool) -> anyhow::Result<String> {
    let Some(address) = http.map(reachable) else {
        bail!("HTTP is not set, so the bot serves no health; set it for both, such as HTTP=127.0.0.1:8080");
    };
    ensure!(address.port() != 0, "HTTP={address} leaves the port open, so nobody knows where to ask");
    let path = if ready { "ready" } else { "live" };
    let url = format!("http://{address}/{path}");
    // Loopback is never behind a proxy, whatever the environment says.
    let client = reqwest::Client::builder().timeout(ANSWER_LIMIT).no_proxy().build()?;
    let answer = match client.get(&url).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => bail!("{url} does not answer in time"),
        Err(error) => bail!("{url} does not answer ({})", root_cause(&error)),
    };
    let status = answer.status();
    let text = crate::finding::quote(&answer.text().await.unwrap_or_default());
    ensure!(status.is_success(), "{url} answers {}: {text}", status.as_u16());
    Ok(text)
}

/// The address to ask at for one that was listened on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_asked_on_loopback() {
        let asked = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(asked("[::]:80"), "[::1]:80");
        assert_eq!(asked("10.0.0.1:80"), "10.0.0.1:80");
    }
}
