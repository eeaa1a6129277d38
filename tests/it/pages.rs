//! Many open pages of the playground on one Discord, over the wire: all of them hear everything, and one that reads
//! nothing holds up nobody, costs a bounded amount and catches up.

use std::net::{Ipv4Addr, SocketAddr};

use futures::future::join_all;
use mneme::backstage::Backstage;
use mneme::dynamo::faults::Faults;
use mneme::sim::{Act, Id};
use mneme::tasks::Tasks;
use mneme::web;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::{Discord, PATIENCE, world};

/// Pages that are open at once.
const PAGES: usize = 200;

/// Events that the slow page does not read: more than the queue behind a person holds (1,024), and than the system keeps
/// for a socket on both sides (some megabytes).
const UNREAD: usize = 5_000;
const TEXT: usize = 1_900;

/// What the system keeps for the slow page: the rest is ours to bound.
const RECEIVE_BYTES: u32 = 4 * 1024;

/// A page: its socket, and what is done with it as a browser would.
struct Page {
    stream: BufReader<TcpStream>,
    asked: u64,
}

impl Page {
    async fn open(address: SocketAddr, person: Id) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
        let mut stream = BufReader::new(socket.connect(address).await.unwrap());
        let request = format!(
            "GET /ws?person={person} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut page = Self { stream, asked: 0 };
        assert_eq!(page.next().await["t"], "VIEW");
        assert_eq!(page.next().await["t"], "SWITCHES");
        page
    }

    /// The next frame. The server's are whole and unmasked.
    async fn next(&mut self) -> Value {
        let reading = async {
            let opcode = self.stream.read_u8().await.unwrap();
            assert_eq!(opcode, 0x81, "a whole text");
            let length = match self.stream.read_u8().await.unwrap() {
                126 => u64::from(self.stream.read_u16().await.unwrap()),
                127 => self.stream.read_u64().await.unwrap(),
                short => u64::from(short),
            };
            let mut text = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut text).await.unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        timeout(PATIENCE, reading).await.expect("a frame")
    }

    /// What it asks, and the answer; what it hears meanwhile is passed over.
    async fn ask(&mut self, what: &str, of: Value) -> Value {
        self.asked += 1;
        let text = json!({ "id": self.asked, what: of }).to_string();
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short question");
        // Masked, as a client must; with a mask of nothing.
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat();
        self.stream.write_all(&frame).await.unwrap();
        loop {
            let frame = self.next().await;
            if frame["id"] == self.asked {
                assert!(frame.get("error").is_none(), "{frame}");
                return frame["ok"].clone();
            }
        }
    }

    /// The text of the next message.
    async fn hears(&mut self) -> String {
        loop {
            let frame = self.next().await;
            match frame["t"].as_str() {
                Some("MESSAGE_CREATE") => return frame["d"]["content"].as_str().unwrap().to_owned(),
                Some("LAGGED") => panic!("a page that reads missed something: {frame}"),
                _ => {}
            }
        }
    }
}

/// A Discord with the playground's pages; `zed` is where nobody else is.
async fn stage() -> (Discord, Tasks, SocketAddr) {
    let mut world = world();
    world.guild("attic").channel("dust");
    world.guild("attic").person("zed");
    let discord = Discord::with(world).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    let pages = web::router(discord.simulator.clone(), Backstage::default(), Faults::new());
    tasks.spawn("pages", web::serve(listener, pages, tasks.shutdown()));
    (discord, tasks, address)
}

#[tokio::test]
async fn two_hundred_pages_hear_everything_while_one_reads_nothing() {
    let (discord, tasks, address) = stage().await;
    let (ann, zed) = (discord.person("zoo", "cats", "ann"), discord.person("attic", "dust", "zed"));
    let mut pages = join_all((0..PAGES).map(|_| Page::open(address, ann.id))).await;
    let mut slow = Page::open(address, zed.id).await;
    for n in 0..UNREAD {
        let text = format!("{n} {}", "x".repeat(TEXT));
        zed.act(Act::say(zed.channel, text)).unwrap();
        if n % 1_000 == 0 {
            ann.act(Act::say(ann.channel, format!("still here {n}"))).unwrap();
            let heard = join_all(pages.iter_mut().map(Page::hears)).await;
            assert!(heard.iter().all(|text| *text == format!("still here {n}")));
        }
        // The tasks of the pages have their turn, as they would between two events of people.
        tokio::task::yield_now().await;
    }
    let (mut heard, mut missed, mut next) = (0, 0, 0);
    while heard + missed < UNREAD {
        let frame = slow.next().await;
        match frame["t"].as_str() {
            Some("MESSAGE_CREATE") => {
                let text = frame["d"]["content"].as_str().unwrap();
                assert_eq!(
                    text.split(' ').next().unwrap(),
                    next.to_string(),
                    "in order, with one gap that is told"
                );
                heard += 1;
                next += 1;
            }
            Some("LAGGED") => {
                let gap = usize::try_from(frame["d"]["missed"].as_u64().unwrap()).unwrap();
                missed += gap;
                next += gap;
            }
            _ => {}
        }
    }
    assert!(missed > 0, "nothing was dropped: {heard} events waited for a page that did not read");
    assert_eq!(heard + missed, UNREAD, "what it missed it is told");
    let last = slow.ask("messages", json!({ "channel": zed.channel.to_string(), "limit": 1 })).await;
    assert!(last[0]["content"].as_str().unwrap().starts_with(&format!("{} ", UNREAD - 1)), "it catches up");
    zed.act(Act::say(zed.channel, "and hears again")).unwrap();
    assert_eq!(slow.hears().await, "and hears again");
    tasks.stop();
    discord.end().await;
}
