//! A connection that may be used: over TLS or to this machine, logged in by SCRAM, bound to our resource.
//!
//! The password is proven and never sent: where a server offers nothing but PLAIN, that is refused, because a
//! server that is not ours would get it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use sasl::common::{ChannelBinding, Credentials};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite, BufStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_xmpp::error::AuthError;
use tokio_xmpp::jid::{BareJid, FullJid, Jid, ResourcePart};
use tokio_xmpp::parsers::bind::{BindQuery, BindResponse};
use tokio_xmpp::parsers::iq::Iq;
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::parsers::sasl::DefinedCondition as Denied;
use tokio_xmpp::parsers::stanza_error::DefinedCondition;
use tokio_xmpp::parsers::stream_error::DefinedCondition as StreamCondition;
use tokio_xmpp::parsers::{ns, starttls};
use tokio_xmpp::xmlstream::{
    PendingFeaturesRecv, ReadError, StreamHeader, Timeouts, XmppStream, XmppStreamElement, initiate_stream,
};
use tokio_xmpp::{Stanza, client_login};

use crate::relay::transport::TransportError;
use crate::relay::xmpp::{Settings, Tls};

/// One session of an account at a time: a second one with the same resource takes the first one's place.
const RESOURCE: &str = "mneme";

/// Above any client of people that uses the account, so that messages come here.
const PRIORITY: i8 = 1;

/// A server that is silent for longer is asked whether it is there, and given up after as long again.
const SILENCE: Timeouts = Timeouts {
    read_timeout: std::time::Duration::from_secs(30),
    response_timeout: std::time::Duration::from_secs(30),
};

/// Answers that are not for us, before the one to our question: what waited for us may come first.
const OTHERS_MAX: usize = 100;

/// Whatever bytes go over.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

type Io = BufStream<Box<dyn Bytes>>;

pub type Session = XmppStream<Io>;

/// Why there is no connection.
pub enum Trouble {
    /// Trying again soon changes nothing.
    Final(TransportError),
    /// Another session has our resource.
    Conflict,
    Passing(String),
}

impl From<TransportError> for Trouble {
    fn from(error: TransportError) -> Self {
        Self::Final(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let invalid = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match invalid {
            Some(rustls::Error::InvalidCertificate(why)) => {
                let why = format!("the server's certificate is not to be trusted: {why:?}");
                Self::Final(TransportError::Insecure(why))
            }
            _ => Self::Passing(error.to_string()),
        }
    }
}

/// What a connection needs that does not change.
pub struct Account {
    pub jid: BareJid,
    tls: TlsConnector,
}

impl Account {
    pub fn new(settings: &Settings) -> Result<Self, TransportError> {
        let config = |why: String| TransportError::Config(why);
        let jid = BareJid::new(&settings.jid)
            .map_err(|error| config(format!("{:?} is not an address: {error}", settings.jid)))?;
        if jid.node().is_none() {
            return Err(config(format!("{jid} has no name before the @")));
        }
        let mut roots = RootCertStore::empty();
        match &settings.ca {
            Some(path) => {
                let told = |why: &dyn std::fmt::Display| config(format!("ca {}: {why}", path.display()));
                let certificates = CertificateDer::pem_file_iter(path).map_err(|error| told(&error))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| told(&error))?;
                    roots.add(certificate).map_err(|error| told(&error))?;
                }
                if roots.is_empty() {
                    return Err(told(&"it holds no certificate"));
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| config(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { jid, tls: TlsConnector::from(Arc::new(tls)) })
    }

    /// Connects, proves who we are, and tells the server that we are there.
    pub async fn connect(&self, settings: &Settings) -> Result<Session, Trouble> {
        if settings.tls == Tls::Off {
            let mut addresses = tokio::net::lookup_host(&settings.server).await?;
            if addresses.any(|address| !address.ip().is_loopback()) {
                let why = format!("`tls: off` is for this machine only, not for {}", settings.server);
                return Err(TransportError::Insecure(why).into());
            }
        }
        let socket = TcpStream::connect(&settings.server).await?;
        // Small messages go at once: waiting for more to send costs 40 ms each way.
        socket.set_nodelay(true)?;
        let opened = match settings.tls {
            Tls::Off => self.open(Box::new(socket)).await?,
            Tls::Direct => self.secure(socket).await?,
            Tls::StartTls => self.upgrade(socket).await?,
        };
        let mut session = self.log_in(opened, settings).await?;
        self.bind(&mut session).await?;
        let presence = Presence::available().with_priority(PRIORITY);
        session.send(&XmppStreamElement::Stanza(Stanza::Presence(presence))).await?;
        Ok(session)
    }

    fn header(&self) -> StreamHeader<'_> {
        StreamHeader { to: Some(Cow::Borrowed(self.jid.domain().as_str())), from: None, id: None }
    }

    async fn open(&self, bytes: Box<dyn Bytes>) -> io::Result<PendingFeaturesRecv<Io>> {
        initiate_stream(BufStream::new(bytes), ns::JABBER_CLIENT, self.header(), SILENCE).await
    }

    async fn secure(&self, socket: TcpStream) -> Result<PendingFeaturesRecv<Io>, Trouble> {
        let domain = self.jid.domain().as_str().to_owned();
        let name = ServerName::try_from(domain)
            .map_err(|error| TransportError::Config(format!("{}: {error}", self.jid.domain())))?;
        let stream = self.tls.connect(name, socket).await?;
        Ok(self.open(Box::new(stream)).await?)
    }

    async fn upgrade(&self, socket: TcpStream) -> Result<PendingFeaturesRecv<Io>, Trouble> {
        let opened =
            initiate_stream(BufStream::new(socket), ns::JABBER_CLIENT, self.header(), SILENCE).await?;
        let (features, mut plain): (_, XmppStream<_>) = opened.recv_features().await.map_err(passing)?;
        if !features.can_starttls() {
            return Err(TransportError::Insecure("the server offers no STARTTLS".to_owned()).into());
        }
        plain.send(&XmppStreamElement::Starttls(starttls::Nonza::Request(starttls::Request))).await?;
        match next(&mut plain).await? {
            XmppStreamElement::Starttls(starttls::Nonza::Proceed(_)) => {}
            _ => return Err(Trouble::Passing("the server refused STARTTLS".to_owned())),
        }
        // What the server has sent in plain text after it, if anything, is thrown away with the buffer.
        self.secure(plain.into_inner().into_inner()).await
    }

    async fn log_in(&self, opened: PendingFeaturesRecv<Io>, settings: &Settings) -> Result<Session, Trouble> {
        let (features, session): (_, Session) = opened.recv_features().await.map_err(passing)?;
        let mut mechanisms = features.sasl_mechanisms;
        // Without channel binding: the library looks for it on TLS 1.3 and, not finding it, sends the password.
        mechanisms.retain(|name| name.starts_with("SCRAM-") && !name.ends_with("-PLUS"));
        if mechanisms.is_empty() {
            let why = "the server offers no SCRAM, and the password is not sent to it".to_owned();
            return Err(TransportError::Insecure(why).into());
        }
        let user = self.jid.node().map(|node| node.as_str().to_owned()).unwrap_or_default();
        let credentials = Credentials::default()
            .with_username(user)
            .with_password(settings.password.expose_secret())
            .with_channel_binding(ChannelBinding::None);
        let proven = self.prove(session, mechanisms, credentials).await?;
        let opened = proven.send_header(self.header()).await?;
        // Its stream management is left alone: acknowledgements of ours say more.
        let (_, session) = opened.recv_features().await.map_err(passing)?;
        Ok(session)
    }

    async fn prove(
        &self,
        session: Session,
        mechanisms: BTreeSet<String>,
        credentials: Credentials,
    ) -> Result<tokio_xmpp::xmlstream::InitiatingStream<Io>, Trouble> {
        client_login(session, mechanisms, credentials).await.map_err(|error| match error {
            tokio_xmpp::Error::Auth(AuthError::Fail(Denied::TemporaryAuthFailure)) => {
                Trouble::Passing("the server cannot check passwords now".to_owned())
            }
            tokio_xmpp::Error::Auth(AuthError::Sasl(why)) => {
                let why = format!("the server did not prove that it knows the password: {why}");
                Trouble::Final(TransportError::Insecure(why))
            }
            tokio_xmpp::Error::Auth(why) => {
                Trouble::Final(TransportError::Credentials(format!("{}: {why}", self.jid)))
            }
            tokio_xmpp::Error::Io(error) => error.into(),
            other => Trouble::Passing(other.to_string()),
        })
    }

    async fn bind(&self, session: &mut Session) -> Result<(), Trouble> {
        let query = Iq::from_set("bind", BindQuery::new(Some(RESOURCE.to_owned())));
        session.send(&XmppStreamElement::Stanza(Stanza::Iq(query))).await?;
        for _ in 0..OTHERS_MAX {
            match next(session).await? {
                XmppStreamElement::Stanza(Stanza::Iq(Iq::Result { id, payload, .. })) if id == "bind" => {
                    let bound = payload.and_then(|payload| BindResponse::try_from(payload).ok());
                    return self.check(bound.map(FullJid::from));
                }
                XmppStreamElement::Stanza(Stanza::Iq(Iq::Error { id, error, .. })) if id == "bind" => {
                    return Err(match error.defined_condition {
                        DefinedCondition::Conflict => Trouble::Conflict,
                        other => Trouble::Passing(format!("the server bound no resource: {other:?}")),
                    });
                }
                XmppStreamElement::StreamError(error) if error.0.condition == StreamCondition::Conflict => {
                    return Err(Trouble::Conflict);
                }
                _ => {}
            }
        }
        Err(Trouble::Passing("the server did not answer which resource it bound".to_owned()))
    }

    /// What we are called from now on must be what the configuration says, or others would not know us.
    fn check(&self, bound: Option<FullJid>) -> Result<(), Trouble> {
        let wanted = ResourcePart::new(RESOURCE).expect("the resource is a constant");
        let wanted = self.jid.with_resource(&wanted);
        match bound {
            Some(bound) if bound.to_bare() == self.jid => Ok(()),
            Some(bound) => {
                let why = format!("the server calls us {bound}, not {wanted}: write its name in `bots`");
                Err(TransportError::Config(why).into())
            }
            None => Err(Trouble::Passing("the server's answer names no address".to_owned())),
        }
    }
}

fn passing(error: impl std::fmt::Display) -> Trouble {
    Trouble::Passing(error.to_string())
}

/// The next element while nothing else is to be done.
async fn next<S>(stream: &mut XmppStream<S>) -> Result<XmppStreamElement, Trouble>
where
    S: tokio::io::AsyncBufRead + AsyncWrite + Unpin,
{
    loop {
        match stream.next().await.map(|item| item.and_then(|element| element.into_read_error())) {
            Some(Ok(element)) => return Ok(element),
            Some(Err(ReadError::SoftTimeout)) => {}
            Some(Err(error)) => return Err(passing(error)),
            None => return Err(Trouble::Passing("the server closed the connection".to_owned())),
        }
    }
}

/// Whose messages these are: the address without the resource.
pub fn bare(jid: &Jid) -> BareJid {
    jid.to_bare()
}
