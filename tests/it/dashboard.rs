//! The dashboard over the wire: its numbers are those of `/metrics` and of the simulated Discord, names stay text,
//! and nobody comes in who should not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use mneme::context::Instance;
use mneme::dynamo::connect::Connected;
use mneme::run::{Http, Parts};
use mneme::sim::Id;
use reqwest::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use reqwest::{Client, Response, StatusCode, redirect};

use crate::harness::{self, Bot, Discord, Person};

/// What people type who sign in. No name is resolved: requests go to the bot and name this host.
const PUBLIC: &str = "bot.example";
const ORIGIN: &str = "https://bot.example";
const METRICS_TOKEN: &str = "for-prometheus";

/// A bot with a dashboard.
pub struct House {
    pub discord: Discord,
    bot: Bot,
    address: SocketAddr,
    client: Client,
}

fn free(ip: impl Into<IpAddr>) -> SocketAddr {
    std::net::TcpListener::bind((ip.into(), 0)).unwrap().local_addr().unwrap()
}

impl House {
    async fn open(discord: Discord, http: Http, instance: Instance) -> Self {
        Self::open_with(discord, http, instance, harness::memory().await, Parts::default()).await
    }

    /// The same with a store of its own, and what its configuration may have.
    async fn open_with(
        discord: Discord,
        http: Http,
        instance: Instance,
        store: Connected,
        parts: Parts,
    ) -> Self {
        let address = match http.address.ip() {
            ip if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, http.address.port())),
            _ => http.address,
        };
        let mut seen = discord.simulator.watch(discord.id("ann"));
        let settings = mneme::playground::bot_settings(&discord.simulator);
        let bot = discord.launch_with(settings, store, instance, Some(http), parts);
        discord.connected(&mut seen, 0).await;
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        Self { discord, bot, address, client }
    }

    /// For whoever sits at this machine.
    pub async fn here() -> Self {
        Self::here_with(harness::memory().await, Parts::default()).await
    }

    pub async fn here_with(store: Connected, parts: Parts) -> Self {
        let http = Http::here(free(Ipv4Addr::LOCALHOST));
        Self::open_with(Discord::start().await, http, harness::instance(), store, parts).await
    }

    /// For those who sign in; `olga` owns both servers, `bob` owns the bot.
    async fn public() -> Self {
        Self::public_with(Parts::default()).await
    }

    pub async fn public_with(parts: Parts) -> Self {
        let discord = Discord::start().await;
        let secret = discord.simulator.client_secret().into();
        let http = Http {
            address: free(Ipv4Addr::LOCALHOST),
            public: Some((ORIGIN.parse().unwrap(), secret)),
            metrics_token: Some(METRICS_TOKEN.into()),
        };
        let instance = Instance { bot_owners: vec![discord.id("bob")], ..harness::instance() };
        Self::open_with(discord, http, instance, harness::memory().await, parts).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = self.client.get(format!("http://{}{path}", self.address));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    }

    pub async fn page(&self, path: &str) -> String {
        let response = self.get(path, &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.unwrap()
    }

    pub async fn status(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.get(path, headers).await.status().as_u16()
    }

    fn server(&self, name: &str) -> Id {
        self.discord.simulator.read(|world| world.find_guild(name)).unwrap()
    }

    fn ann(&self) -> Person<'_> {
        self.discord.person("zoo", "cats", "ann")
    }

    pub async fn end(self) {
        self.bot.stop().await;
        self.discord.end().await;
    }
}

/// A number of `/metrics`, summed over its labels; `part` stands in its line.
pub fn number(metrics: &str, family: &str, part: &str) -> u64 {
    let lines =
        metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(family) && line.contains(part));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

/// The numbers in the row of a table that begins with this cell.
pub fn row(page: &str, first: &str) -> Vec<String> {
    let row = page.split("<tr>").find(|row| plain(row.split("</td>").next().unwrap()) == first);
    let row = row.unwrap_or_else(|| panic!("no row {first} in {page}"));
    let cells = row.split("<td class=\"number\">").skip(1);
    cells.map(|cell| plain(cell.split("</td>").next().unwrap())).collect()
}

/// The text between tags.
pub fn plain(html: &str) -> String {
    html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect()
}

/// The number on a tile.
pub fn tile(page: &str, label: &str) -> String {
    let tile =
        page.split("<dt>").find(|tile| tile.starts_with(label)).unwrap_or_else(|| panic!("no tile {label}"));
    plain(tile.split("<b>").nth(1).unwrap().split("</b>").next().unwrap())
}

#[tokio::test]
async fn the_pages_say_what_metrics_says_and_what_discord_counted() {
    let house = House::here().await;
    let ann = house.ann();
    for line in [".remember tea is hot", ".rem tea", ".rem nothing", ".ping"] {
        ann.says(line).await;
    }
    ann.slash("rem get", &[("key", "tea".into())]).await;
    let (overview, costs, metrics) =
        (house.page("/").await, house.page("/costs").await, house.page("/metrics").await);
    let simulator = &house.discord.simulator;
    let (messages, callbacks) = (
        simulator.calls("POST /channels/{c}/messages"),
        simulator.calls("POST /interactions/{i}/{token}/callback"),
    );
    assert_eq!((messages, callbacks), (4, 1));
    assert_eq!(number(&metrics, "mneme_discord_requests_total", "route=\"message\""), messages);
    assert_eq!(row(&overview, "message"), [messages.to_string()]);
    assert_eq!(row(&overview, "callback"), [callbacks.to_string()]);
    assert_eq!(number(&metrics, "mneme_commands_total", ""), messages + callbacks);
    assert_eq!(tile(&overview, "Commands"), (messages + callbacks).to_string());
    assert_eq!(number(&metrics, "mneme_command_seconds_count", ""), messages + callbacks);
    let servers = simulator.read(|world| world.guilds_of(ann.id)).as_array().unwrap().len();
    assert_eq!(tile(&overview, "Servers"), servers.to_string());
    assert_eq!(number(&metrics, "mneme_servers", ""), servers as u64);
    let requests = number(&metrics, "mneme_dynamo_requests_total", "table=\"remember\"");
    assert_eq!(row(&costs, "remember")[0], requests.to_string());
    house.end().await;
}

#[tokio::test]
async fn hostile_names_keys_and_values_are_text() {
    let script = "<script>alert(1)</script>";
    let world = {
        let mut world = harness::world();
        let mut guild = world.guild(script);
        guild.channel("cats");
        guild.person("\u{202e}<img src=x onerror=alert(2)>");
        let ann = guild.person("ann");
        guild.owner(ann);
        world
    };
    let address = free(Ipv4Addr::LOCALHOST);
    let house = House::open(Discord::with(world).await, Http::here(address), harness::instance()).await;
    let combining = format!("e{}", "\u{301}".repeat(1_900));
    let mallory = house.discord.person(script, "cats", "\u{202e}<img src=x onerror=alert(2)>");
    for line in [
        format!(".remember \"{script}\" is \"><svg onload=alert(3)>"),
        format!(".remember zalgo is {combining}"),
    ] {
        mallory.says(&line).await;
    }
    let server = house.server(script);
    let mut all = house.page("/servers").await;
    for part in [
        "",
        "/memories",
        "/audit",
        "/settings",
        "/memory?key=zalgo",
        "/memory?key=%3Cscript%3Ealert%281%29%3C%2Fscript%3E",
    ] {
        all.push_str(&house.page(&format!("/servers/{server}{part}")).await);
    }
    for raw in ["<script", "<img src=x", "<svg onload"] {
        assert!(!all.contains(raw), "{raw}");
    }
    assert!(all.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(all.contains(&combining), "nothing is lost");
    // What somebody is called turns no text but its own.
    for part in all.split('\u{202e}').skip(1) {
        assert!(part.contains("</bdi>"));
    }
    house.end().await;
}

#[tokio::test]
async fn without_a_sign_in_nothing_but_life_signs_is_answered_elsewhere() {
    let discord = Discord::start().await;
    let address = free(Ipv4Addr::UNSPECIFIED);
    let house = House::open(discord, Http::here(address), harness::instance()).await;
    let server = house.server("zoo");
    let paths =
        ["/", "/metrics", "/servers", "/costs", "/errors", "/sign-in", "/assets/dashboard.css", "/nothing"];
    let forwarded = [("x-forwarded-for", "203.0.113.9")];
    let rebound = [("host", "rebound.example")];
    let foreign = [("origin", "http://evil.example")];
    let fetched = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")];
    for path in paths.iter().copied().chain([format!("/servers/{server}/memories").as_str()]) {
        for headers in [&forwarded[..], &rebound, &foreign, &fetched] {
            assert_eq!(house.status(path, headers).await, 403, "{path} {headers:?}");
        }
    }
    assert_eq!(house.status("/live", &rebound).await, 200);
    assert!(
        [200, 503].contains(&house.status("/ready", &rebound).await),
        "it may not be ready yet, and says so"
    );
    // The same from another address of this machine, where it has one.
    if let Some(other) = other_address() {
        let at = |path: &str| format!("http://{}{path}", SocketAddr::new(other, address.port()));
        for path in paths {
            assert_eq!(house.client.get(at(path)).send().await.unwrap().status(), 403, "{path} at {other}");
        }
        assert_eq!(house.client.get(at("/live")).send().await.unwrap().status(), 200);
    }
    assert_eq!(house.status("/", &[]).await, 200, "whoever sits here sees it");
    house.end().await;
}

/// An address of this machine that is not loopback. Nothing is sent.
fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// A browser of somebody who looks at the public address.
pub struct Browser<'a> {
    house: &'a House,
    cookies: Vec<String>,
}

impl<'a> Browser<'a> {
    pub fn new(house: &'a House) -> Self {
        Self { house, cookies: Vec::new() }
    }

    fn keep(&mut self, response: &Response) {
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
            let name = pair.split('=').next().unwrap().to_owned();
            self.cookies.retain(|known| known.split('=').next() != Some(&name));
            self.cookies.push(pair);
        }
    }

    pub async fn get(&mut self, path: &str) -> Response {
        let url = format!("http://{}{path}", self.house.address);
        let request = self.house.client.get(url).header(HOST, PUBLIC).header("accept", "text/html");
        let response = request.header(COOKIE, self.cookies.join("; ")).send().await.unwrap();
        self.keep(&response);
        response
    }

    pub async fn page(&mut self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    async fn post(&mut self, path: &str, origin: &str, form: &[(&str, &str)]) -> Response {
        let url = format!("http://{}{path}", self.house.address);
        let request = self.house.client.post(url).header(HOST, PUBLIC).header("origin", origin).form(form);
        let response = request.header(COOKIE, self.cookies.join("; ")).send().await.unwrap();
        self.keep(&response);
        response
    }

    /// Goes to Discord and says who one is; the path that Discord sends one back to.
    async fn way_back(&mut self, person: Id) -> String {
        let there = self.get("/sign-in").await;
        assert_eq!(there.status(), 303);
        let url = format!("{}&person={person}", there.headers()[LOCATION].to_str().unwrap());
        let back = self.house.client.get(url).send().await.unwrap();
        let back = back.headers()[LOCATION].to_str().unwrap();
        back.strip_prefix(ORIGIN).expect("back to where one came from").to_owned()
    }

    pub async fn sign_in(&mut self, name: &str) {
        let back = self.way_back(self.house.discord.id(name)).await;
        let response = self.get(&back).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()[LOCATION]),
            (303, &"/servers".parse().unwrap())
        );
    }
}

/// A hidden field of the first form that goes to this path.
fn field(page: &str, action: &str, name: &str) -> String {
    let form =
        page.split("<form").find(|form| form.contains(&format!("action=\"{action}\""))).expect("the form");
    let field = form.split(&format!("name=\"{name}\" value=\"")).nth(1).expect("the field");
    field.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn everything_at_a_public_address_asks_for_a_sign_in() {
    let house = House::public().await;
    let mut visitor = Browser::new(&house);
    for path in ["/", "/servers", "/metrics", "/costs", "/assets/dashboard.css", "/nothing"] {
        let response = visitor.get(path).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()[LOCATION]),
            (303, &"/sign-in".parse().unwrap()),
            "{path}"
        );
        assert_eq!(house.status(path, &[("host", PUBLIC)]).await, 401, "{path} for a program");
        // Not even on this machine: a proxy here would look the same.
        assert_eq!(house.status(path, &[]).await, 403, "{path} by its address");
    }
    assert_eq!(house.status("/live", &[("host", "any.example")]).await, 200);
    let prometheus = format!("Bearer {METRICS_TOKEN}");
    assert_eq!(house.status("/metrics", &[("authorization", &prometheus)]).await, 200);
    assert_eq!(house.status("/metrics", &[("authorization", "Bearer wrong")]).await, 403);
    assert_eq!(house.status("/servers", &[("authorization", &prometheus), ("host", PUBLIC)]).await, 401);
    house.end().await;
}

#[tokio::test]
async fn a_sign_in_is_bound_to_the_browser_that_began_it() {
    let house = House::public().await;
    let (mut ann, mut mallory) = (Browser::new(&house), Browser::new(&house));
    let back = ann.way_back(house.discord.id("ann")).await;
    mallory.get("/sign-in").await;
    assert_eq!(mallory.get(&back).await.status(), 403, "a stolen state and code");
    let no_state = back.split("&state=").next().unwrap();
    assert_eq!(ann.get(no_state).await.status(), 403, "no state");
    assert_eq!(ann.get(&format!("{no_state}&state=made-up")).await.status(), 403, "a state that is made up");
    assert_eq!(ann.get(&back).await.status(), 303, "her own");
    assert_eq!(ann.get(&back).await.status(), 403, "only once");
    assert_eq!(house.discord.simulator.people_tokens(), 0, "Discord has its token back");
    assert_eq!(ann.get("/servers").await.status(), 200);
    // A code that Discord does not know.
    mallory.get("/sign-in").await;
    let mine = mallory.way_back(house.discord.id("mo")).await;
    let state = mine.split("&state=").nth(1).unwrap();
    assert_eq!(mallory.get(&format!("/signed-in?code=guessed&state={state}")).await.status(), 502);
    assert_eq!(mallory.get("/servers").await.status(), 303);
    house.end().await;
}

#[tokio::test]
async fn people_see_the_servers_that_they_manage_and_owners_see_all() {
    let house = House::public().await;
    let (zoo, farm) = (house.server("zoo"), house.server("farm"));
    let (mut olga, mut ann, mut bob) = (Browser::new(&house), Browser::new(&house), Browser::new(&house));
    for (browser, name) in [(&mut olga, "olga"), (&mut ann, "ann"), (&mut bob, "bob")] {
        browser.sign_in(name).await;
    }
    let servers = olga.page("/servers").await;
    assert!(servers.contains("zoo") && servers.contains("farm"));
    assert_eq!(olga.get(&format!("/servers/{zoo}/memories")).await.status(), 200);
    for path in ["/", "/costs", "/errors", "/reminders", "/metrics"] {
        assert_eq!(olga.get(path).await.status(), 403, "{path} is for owners");
        assert_eq!(bob.get(path).await.status(), 200, "{path}");
    }
    assert!(!ann.page("/servers").await.contains("zoo"), "ann manages nothing");
    for part in ["", "/memories", "/audit", "/settings", "/export", "/memory?key=tea"] {
        assert_eq!(ann.get(&format!("/servers/{zoo}{part}")).await.status(), 404, "{part}");
    }
    assert_eq!(bob.get(&format!("/servers/{farm}/settings")).await.status(), 200);
    // Who loses the right loses the pages, although they stay signed in.
    let (olga_id, ann_id) = (house.discord.id("olga"), house.discord.id("ann"));
    house.discord.simulator.change(|world| world.guild("zoo").owner(ann_id));
    assert_eq!(
        ann.get(&format!("/servers/{zoo}")).await.status(),
        404,
        "ann's sign-in is older than her right"
    );
    let now = olga.get(&format!("/servers/{zoo}/memories")).await.status();
    assert_eq!(now, 404, "olga, {olga_id}, owns it no more");
    let csrf = field(&ann.page("/servers").await, "/sign-out", "csrf");
    assert_eq!(ann.post("/sign-out", ORIGIN, &[("csrf", &csrf)]).await.status(), 200);
    assert_eq!(ann.get("/servers").await.status(), 303);
    house.end().await;
}

#[tokio::test]
async fn a_memory_is_brought_back_by_a_form_of_ones_own_and_once() {
    let house = House::public().await;
    let ann = house.ann();
    for line in [".remember tea is hot", ".mem edit tea is cold"] {
        ann.says(line).await;
    }
    let zoo = house.server("zoo");
    let (path, memory) = (format!("/servers/{zoo}/restore"), format!("/servers/{zoo}/memory?key=tea"));
    let mut olga = Browser::new(&house);
    olga.sign_in("olga").await;
    let page = olga.page(&memory).await;
    assert!(page.contains("cold") && page.contains("hot"), "{page}");
    let value = |name: &str| field(&page, &path, name);
    let (csrf, event, revision) = (value("csrf"), value("event"), value("revision"));
    assert_eq!(revision, "1");
    let form = [("csrf", csrf.as_str()), ("event", &event), ("key", "tea"), ("revision", "1")];
    let wrong = [("csrf", "guessed"), form[1], form[2], form[3]];
    assert_eq!(olga.post(&path, "https://evil.example", &form).await.status(), 403, "from another site");
    assert_eq!(olga.post(&path, ORIGIN, &wrong).await.status(), 403, "without the form's token");
    assert_eq!(Browser::new(&house).post(&path, ORIGIN, &form).await.status(), 401, "without a sign-in");
    assert_eq!(ann.says(".rem tea").await, "cold", "nothing was changed");
    for _ in 0..2 {
        assert_eq!(olga.post(&path, ORIGIN, &form).await.status(), 200);
    }
    assert_eq!(ann.says(".rem tea").await, "hot");
    let history = ann.says(".mem history tea").await;
    assert_eq!(history.matches("restore").count(), 1, "{history}");
    assert!(olga.page(&format!("/servers/{zoo}/audit")).await.contains("restore"));
    let mut mo = Browser::new(&house);
    mo.sign_in("mo").await;
    let own = field(&mo.page("/servers").await, "/sign-out", "csrf");
    let theirs = [("csrf", own.as_str()), form[1], form[2], form[3]];
    assert_eq!(mo.post(&path, ORIGIN, &theirs).await.status(), 404, "whoever does not manage the server");
    let mut bob = Browser::new(&house);
    bob.sign_in("bob").await;
    assert!(!bob.page(&memory).await.contains("/restore\""), "owners of the bot look, and change nothing");
    let own = field(&bob.page("/servers").await, "/sign-out", "csrf");
    let theirs = [("csrf", own.as_str()), form[1], form[2], form[3]];
    assert_eq!(bob.post(&path, ORIGIN, &theirs).await.status(), 403);
    house.end().await;
}
