//! What others serve: whether it answers, how fast, and for how long its certificate holds.

use std::time::Duration;

use regex_lite::Regex;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::tls::TlsInfo;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::relay::sources::sight::Fields;

/// How much of a page is read for a match.
const PAGE_MAX: usize = 64 * 1024;

/// More hops than any sane site has.
const REDIRECTS_MAX: usize = 5;

/// A client that keeps no connection: what is measured is what a visitor sees.
pub fn client(
    headers: &[(String, Option<SecretString>)],
    timeout: Duration,
) -> Result<reqwest::Client, String> {
    let mut named = HeaderMap::new();
    for (name, value) in headers {
        let value = value.as_ref().map(|value| HeaderValue::from_str(value.expose_secret()));
        let (Ok(name), Some(Ok(mut value))) = (HeaderName::try_from(name), value) else {
            return Err(format!("the header {name} cannot be sent"));
        };
        value.set_sensitive(true);
        named.insert(name, value);
    }
    let client = reqwest::Client::builder()
        .default_headers(named)
        .timeout(timeout)
        .redirect(Policy::limited(REDIRECTS_MAX))
        .pool_max_idle_per_host(0)
        .tls_info(true)
        .user_agent(concat!("mneme/", env!("CARGO_PKG_VERSION")));
    client.build().map_err(|error| error.to_string())
}

/// Asks a page for itself. That it does not answer is an answer: `up` is false.
pub async fn http(client: &reqwest::Client, url: &str, find: Option<&Regex>, now: Timestamp) -> Fields {
    let begin = Instant::now();
    let fields = Fields::default().text("url", url);
    let mut response = match client.get(url).send().await {
        Ok(response) => response,
        // Without the address: it may hold what is nobody's business.
        Err(error) => return fields.switch("up", false).text("error", &reason(&error.without_url())),
    };
    let status = response.status();
    let info = response.extensions().get::<TlsInfo>().and_then(|info| info.peer_certificate());
    let ends = info.and_then(not_after);
    let mut page = Vec::new();
    while page.len() < PAGE_MAX && find.is_some() {
        match response.chunk().await {
            Ok(Some(chunk)) => page.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return fields.switch("up", false).text("error", &reason(&error.without_url())),
        }
    }
    page.truncate(PAGE_MAX);
    let milliseconds = begin.elapsed().as_secs_f64() * 1_000.0;
    let mut fields = fields
        .switch("up", status.is_success())
        .number("status", status.as_u16().into())
        .number("milliseconds", milliseconds);
    if let Some(ends) = ends {
        let left = (ends.millis() - now.millis()) as f64 / 86_400_000.0;
        fields = fields.number("certificate_days", left.floor());
    }
    match find {
        Some(find) => fields.switch("matches", find.is_match(&String::from_utf8_lossy(&page))),
        None => fields,
    }
}

/// The innermost cause says what happened.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// How long a connection takes.
pub async fn tcp(address: &str, timeout: Duration) -> Fields {
    let begin = Instant::now();
    let fields = Fields::default().text("address", address);
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(_)) => {
            fields.switch("up", true).number("milliseconds", begin.elapsed().as_secs_f64() * 1_000.0)
        }
        Ok(Err(error)) => fields.switch("up", false).text("error", &error.to_string()),
        Err(_) => fields.switch("up", false).text("error", "it takes too long"),
    }
}

/// One element of DER: its tag, what is in it, and what follows.
/// <https://www.itu.int/rec/T-REC-X.690>, sections 8.1.2 and 8.1.3.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (inner, after) = rest.split_at_checked(length)?;
    Some((*tag, inner, after))
}

const VERSION_TAG: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a certificate ends: `tbsCertificate.validity.notAfter` of RFC 5280, section 4.1.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&VERSION_TAG) {
        rest = element(rest)?.2;
    }
    // The serial number, the signature's algorithm, the issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, after) = element(validity)?;
    let (tag, time, _) = element(after)?;
    let time = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let full = match tag {
        // Years from 50 on are of the last century.
        UTC_TIME if time.as_bytes().first()? >= &b'5' => format!("19{time}"),
        UTC_TIME => format!("20{time}"),
        GENERALIZED_TIME => time.to_owned(),
        _ => return None,
    };
    if full.len() != 14 || !full.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| &full[at..at + 2];
    let (day, time) =
        (format!("{}-{}-{}", &full[..4], part(4), part(6)), [part(8), part(10), part(12)].join(":"));
    Timestamp::parse(&format!("{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::relay::envelope::Value;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// Answers one request.
    async fn serve(listener: TcpListener, answer: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4_096];
        let length = stream.read(&mut asked).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&asked[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_page_is_looked_at() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let secret = SecretString::from("open-sesame".to_owned());
        let client = client(&[("X-Key".to_owned(), Some(secret))], Duration::from_secs(10)).unwrap();
        let find = Regex::new("all (is )?well").unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\nall is well\n";
        let (fields, asked) = tokio::join!(http(&client, &url, Some(&find), NOW), serve(listener, answer));
        assert_eq!((&fields.0["up"], &fields.0["matches"]), (&Value::Bool(true), &Value::Bool(true)));
        assert_eq!(fields.0["status"], Value::Number(200.0));
        assert!(asked.contains("x-key: open-sesame"), "{asked}");
        assert!(!format!("{fields:?}{client:?}").contains("sesame"));
        let gone = http(&client, &url, None, NOW).await;
        assert_eq!(gone.0["up"], Value::Bool(false));
        assert!(matches!(&gone.0["error"], Value::Text(why) if why.contains("refused")), "{gone:?}");
    }

    #[tokio::test]
    async fn a_port_is_open_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(tcp(&address, Duration::from_secs(10)).await.0["up"], Value::Bool(true));
        drop(listener);
        assert_eq!(tcp(&address, Duration::from_secs(10)).await.0["up"], Value::Bool(false));
    }

    fn der(tag: u8, inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        match inner.len() {
            short @ 0..=0x7f => bytes.push(short as u8),
            long => bytes.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        bytes.extend(inner);
        bytes
    }

    fn certificate(tag: u8, ends: &str) -> Vec<u8> {
        let validity = [der(UTC_TIME, b"200101000000Z"), der(tag, ends.as_bytes())].concat();
        let parts = [
            der(VERSION_TAG, &der(2, &[2])),
            der(2, &[1]),
            der(0x30, &[6, 3, 43, 101, 112]),
            der(0x30, &[0; 300]),
            der(0x30, &validity),
            der(0x30, &[]),
        ];
        der(0x30, &[der(0x30, &parts.concat()), der(0x30, &[])].concat())
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let ends = |tag, text| not_after(&certificate(tag, text)).map(|at| at.to_string());
        assert_eq!(ends(UTC_TIME, "270102030405Z").as_deref(), Some("2027-01-02T03:04:05Z"));
        assert_eq!(ends(GENERALIZED_TIME, "20510102030405Z").as_deref(), Some("2051-01-02T03:04:05Z"));
        assert_eq!(ends(UTC_TIME, "soon"), None);
        let whole = certificate(UTC_TIME, "270102030405Z");
        for length in 0..whole.len() {
            // Whatever a server sends, it is read or not, and never more.
            let _ = not_after(&whole[..length]);
        }
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
