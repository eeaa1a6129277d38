//! [`Desk`]: asks the bot's own commands on behalf of who looks at a page.
//!
//! A page shows what a command would have answered in the chat, by the same code, levels and rules. Only what reads
//! can be asked this way, but for [`Desk::restore`], and that needs somebody who has signed in.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::cause::Cause;
use crate::clock::Timestamp;
use crate::commands::{self, ALL, Registry};
use crate::context::{Answer, Args, Caller, Context, Door, Error, Press, Reply, Result, Services, refuse};
use crate::permissions;
use crate::web::dashboard::door::Viewer;

/// Whoever sits at this machine, in the place of a person's id: nobody has it.
const OPERATOR: u64 = 1;

/// Controls whose press shows another page of the same.
const READING: [&str; 4] = ["audit", "mem-list", "mem-search", "mem-history"];

/// Where pages get their answers.
#[derive(Clone)]
pub struct Desk {
    pub services: Arc<Services>,
    registry: Arc<Registry>,
    known: Arc<Mutex<Known>>,
}

/// What people are called in servers, and when that was asked: `None` is somebody who is not there.
type Known = HashMap<(u64, u64), (Option<String>, Instant)>;

/// How long a name is believed, and how many are kept.
const NAME_LASTS: Duration = Duration::from_secs(600);
const NAMES_MAX: usize = 10_000;

/// Names asked for on one page, and how long for; whoever is not named then has an id.
const NAMES_A_PAGE: usize = 30;
const NAMES_WITHIN: Duration = Duration::from_secs(2);

impl Desk {
    pub fn new(services: Arc<Services>) -> Self {
        Self { services, registry: Arc::new(Registry::new(ALL)), known: Arc::default() }
    }

    /// A new event of ours: its id is a snowflake of now. Two at the same time are told apart by chance, as by
    /// Discord's counter.
    pub fn event(&self) -> u64 {
        let now = self.services.clock.now().snowflake();
        now | u64::from(rand::random::<u16>()) | 1 << 21
    }

    /// What a person may see in a server, as Discord says now, and whether they manage it, so that they may change
    /// something; `None`: it is none of theirs. Unknown is an error.
    pub async fn caller(&self, viewer: &Viewer, server_id: u64) -> anyhow::Result<Option<(Caller, bool)>> {
        let instance = &self.services.instance;
        let session = match viewer {
            Viewer::Here => {
                let caller = Caller {
                    id: OPERATOR,
                    moderator: true,
                    admin: true,
                    bot_owner: true,
                    ..Caller::default()
                };
                return Ok(Some((caller, false)));
            }
            Viewer::SignedIn(session) => session,
        };
        let owner = instance.bot_owners.contains(&session.person_id);
        if !owner && !session.servers.contains(&server_id) {
            return Ok(None);
        }
        let standing = self.services.discord.standing(server_id, &[], session.person_id).await?;
        let caller = standing.map(|standing| standing.caller(session.person_id, instance));
        let manages = caller.as_ref().is_some_and(|caller| caller.admin);
        if !manages && !owner {
            return Ok(None);
        }
        // An owner of the bot sees what its servers' admins see, also where they are nobody.
        let nobody = || Caller { id: session.person_id, bot_owner: true, ..Caller::default() };
        Ok(Some((Caller { admin: true, ..caller.unwrap_or_else(nobody) }, manages)))
    }

    /// What a command can reach when this person asks it in this server.
    pub async fn context(&self, caller: &Caller, server_id: u64, event: u64) -> Result<Context> {
        let services = &self.services;
        let settings = services.settings.of(&services.dynamo, server_id).await?;
        let prefix = settings.prefix.as_deref().unwrap_or(&services.instance.default_prefix).into();
        Ok(Context {
            services: services.clone(),
            cause: Cause::new(event, server_id, caller.id),
            caller: caller.clone(),
            // The door behind which answers are whole, and for the caller's eyes.
            door: Door::Slash,
            channel_id: 0,
            prefix,
            settings,
            attachments: Vec::new(),
        })
    }

    /// What this command answers. It must be one that changes nothing.
    pub async fn ask(&self, ctx: &Context, name: &str, args: Args) -> Result<Reply> {
        let Some(command) = commands::named(name) else { return refuse("There is no such command") };
        permissions::check(command.into(), &ctx.caller, &ctx.settings, true, &ctx.prefix)?;
        reply((command.run)(ctx.clone(), args).await?)
    }

    /// Another page of an answer: what a press of its button shows.
    pub async fn turn(&self, ctx: &Context, id: &str) -> Result<Reply> {
        let Some((control, fields)) = self.registry.control(id) else {
            return refuse("There is no such page");
        };
        if !READING.contains(&control.verb) {
            return refuse("There is no such page");
        }
        if let Some(command) = control.command.and_then(commands::named) {
            permissions::check(command.into(), &ctx.caller, &ctx.settings, true, &ctx.prefix)?;
        }
        let press = Press { fields: fields.to_owned(), ..Press::default() };
        reply((control.run)(ctx.clone(), press).await?)
    }

    /// Makes a memory what it was at a revision; a new revision says so, with the name of who did it. Sent twice with
    /// the same event it is done once.
    pub async fn restore(&self, ctx: &Context, key: &str, revision: u64) -> Result<Reply> {
        let args = Args::new().with_text("key", key).with_text("to", revision.to_string());
        self.ask(ctx, "mem restore", args).await
    }

    pub fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    /// Asks Discord what these people are called, where the gateway has not told.
    pub async fn learn(&self, server_id: u64, people: impl IntoIterator<Item = u64>) {
        let unknown: BTreeSet<u64> = people.into_iter().filter(|id| *id > OPERATOR).collect();
        let unknown = unknown.into_iter().filter(|id| !self.is_known(server_id, *id)).take(NAMES_A_PAGE);
        let asked = unknown.map(|id| async move { (id, self.services.discord.member(server_id, id).await) });
        let Ok(found) = timeout(NAMES_WITHIN, futures::future::join_all(asked)).await else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + found.len() > NAMES_MAX {
            known.clear();
        }
        for (id, member) in found {
            // Whoever could not be asked for is asked for again.
            if let Ok(member) = member {
                known.insert((server_id, id), (member.map(|member| member.name), Instant::now()));
            }
        }
    }

    fn is_known(&self, server_id: u64, id: u64) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(server_id, id)).is_some_and(|(_, at)| at.elapsed() < NAME_LASTS)
            || self.services.discord.name_of(server_id, id).is_some()
    }

    /// What somebody is called, as far as it is known.
    pub fn names(&self, server_id: u64) -> impl Fn(u64) -> Option<String> + '_ {
        move |id| {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let name = known.get(&(server_id, id)).and_then(|(name, _)| name.clone());
            name.or_else(|| self.services.discord.name_of(server_id, id))
        }
    }
}

fn reply(answer: Answer) -> Result<Reply> {
    match answer {
        Answer::Reply(reply) | Answer::Update(reply) => Ok(reply),
        Answer::Modal(_) | Answer::Nothing => Err(Error::Refused("There is nothing to show".to_owned())),
    }
}
