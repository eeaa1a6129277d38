//! From a gateway event to a command: who called, through which door, and in which order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Value as Json, json};
use serenity::all::{
    ActionRowComponent, Attachment as DiscordFile, AttachmentId, ChannelId, CommandDataOption,
    CommandDataOptionValue, CommandInteraction, CommandType, ComponentInteraction,
    ComponentInteractionDataKind, GuildId, Interaction, InteractionId, Message, MessageType,
    ModalInteraction, Permissions, ResolvedTarget, UserId,
};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, field, info_span};

use crate::bans::Who;
use crate::bot::Bot;
use crate::bot::answer::{Destination, Owed, Work, guarded};
use crate::bot::doors::{Address, Entry, enter};
use crate::bot::gate::{self, Standing};
use crate::bot::lanes::{Fresh, Lane, Turn};
use crate::bot::reply::Surface;
use crate::cause::Cause;
use crate::commands::confirm::Questions;
use crate::commands::history::Recent;
use crate::commands::{self, Found, help};
use crate::context::{
    Answer, Args, Attachment, Caller, Choice, Command, Context, Control, Door, Error, Menu, Press, Reply,
    Services, Target, Typing, Value, refuse,
};
use crate::dynamo;
use crate::markdown::code;
use crate::permissions::{self, Asked};
use crate::settings::{Settings, UnknownCommands};

/// Discord shows no suggestions that come later.
const SUGGEST_LIMIT: Duration = Duration::from_millis(500);

/// The lane of an event: one person in one server.
pub fn lane(server: Option<GuildId>, person: UserId) -> Lane {
    (server.map_or(0, GuildId::get), person.get())
}

/// Whether a message can be a command at all.
pub fn is_heard(message: &Message, hear_bots: &[u64], me: UserId) -> bool {
    let person = message.author.id != me
        && (!message.author.bot || hear_bots.contains(&message.author.id.get()))
        && message.webhook_id.is_none();
    person && matches!(message.kind, MessageType::Regular | MessageType::InlineReply)
}

/// What the cache knows about the place of a message.
struct Place {
    caller: Caller,
    surface: Surface,
    bot_role_id: Option<u64>,
}

impl Bot {
    pub(super) async fn on_message(self: &Arc<Self>, message: Message, received: Instant) {
        let lane = lane(message.guild_id, message.author.id);
        let event = message.id.get();
        let me = self.services.discord.cache.current_user().id;
        if !is_heard(&message, &self.hear_bots, me) {
            return;
        }
        let turn = self.lanes.place(lane, event);
        self.tell(
            "heard",
            || json!({"kind": "message", "person": lane.1.to_string(), "text": message.content}),
        );
        let place = self.place(&message, me);
        let settings = self.settings_of(lane.0).await;
        let prefix = self.prefix_of(&settings);
        let address = Address {
            prefix: Some(&prefix),
            bot_id: me.get(),
            bot_role_id: place.as_ref().and_then(|place| place.bot_role_id),
            direct: message.guild_id.is_none(),
        };
        let entry = enter(&message.content, &address);
        self.tell("entered", || {
            let door = match &entry {
                Entry::Chat => "Chat".to_owned(),
                Entry::Words(door, _) => format!("{door:?}"),
                Entry::Again(_) => format!("{:?}", Door::Prefix),
            };
            json!({"door": door})
        });
        if entry == Entry::Chat {
            return;
        }
        if !self.is_fresh(event) {
            return turn.leave_to_first();
        }
        let cause = Cause::new(event, lane.0, lane.1);
        let (blocks, blocks_known) =
            or_default(self.services.bans.in_server(&self.services.dynamo, lane.0).await);
        let surface =
            place.as_ref().map_or(Surface { embeds: true, ephemeral: false }, |place| place.surface);
        let to = Destination::Message { channel_id: message.channel_id.get(), message_id: event };
        let mut owed = Owed {
            cause: cause.clone(),
            prefix: prefix.clone(),
            command: None,
            name: "",
            received,
            surface,
            to,
        };
        let Some(place) = place else {
            drop(turn);
            return self.answer(owed, Box::pin(async { refuse(gate::STARTING) })).await;
        };
        let Some((door, words)) = self.words(entry, &cause) else { return };
        let (settings, known) = or_defaults(settings, lane.0);
        let known = known.and(blocks_known);
        match gate::standing(&self.services, &place.caller, lane.0, &blocks) {
            Standing::Welcome => {}
            Standing::Told(text) if self.registry.names(&words) => {
                drop(turn);
                return self.answer(owed, Box::pin(async move { refuse(text) })).await;
            }
            Standing::Told(_) | Standing::Silence => return,
        }
        let context = Context {
            services: self.services.clone(),
            cause: cause.clone(),
            caller: place.caller,
            door,
            channel_id: message.channel_id.get(),
            prefix,
            settings,
            attachments: message.attachments.iter().map(file).collect(),
        };
        let Some((command, name, work)) = self.work(context, known, &words) else { return };
        (owed.command, owed.name) = (command, name);
        let span = info_span!("command", command = name, cause = %cause.id, server_id = cause.server_id, outcome = field::Empty);
        let work = in_turn(turn, work);
        self.answer(owed, work).instrument(span).await;
    }

    /// The words of an entry; those of an earlier command if it asks for one again.
    fn words(&self, entry: Entry<'_>, cause: &Cause) -> Option<(Door, String)> {
        let recent = self.services.state::<Recent>();
        let (door, words) = match entry {
            Entry::Chat => return None,
            Entry::Words(door, words) => (door, words.to_owned()),
            Entry::Again(n) => (Door::Prefix, recent.nth_last(cause.server_id, cause.actor_id, cause.at, n)?),
        };
        Some((door, words))
    }

    /// What the words ask for; `None` if they are to be passed over in silence.
    fn work(
        &self,
        ctx: Context,
        known: Known,
        words: &str,
    ) -> Option<(Option<&'static Command>, &'static str, Work)> {
        match self.registry.find(words) {
            Found::Command(command, rest) => {
                let recent = self.services.state::<Recent>();
                recent.push(ctx.cause.server_id, ctx.cause.actor_id, ctx.cause.at, words);
                let args = (command.parse)(command, rest);
                let args = args.map(|args| args.with_files(command, &ctx.attachments));
                Some((Some(command), command.name(), checked(ctx, known, command, args)))
            }
            Found::Group(group) => {
                Some((None, "help", Box::pin(async move { Ok(help::of_group(&ctx, group).into()) })))
            }
            Found::Nothing(name) if name.is_empty() && ctx.door == Door::Mention => {
                let text = format!("I am here. Try {}", code(&ctx.typed("help")));
                Some((None, "help", Box::pin(async move { Ok(text.into()) })))
            }
            Found::Nothing(name)
                if ctx.door == Door::DirectMessage && !commands::RESERVED.contains(&first_word(&name)) =>
            {
                Some((None, "unknown", Box::pin(async { refuse("I don't know that one. Try \"help\".") })))
            }
            Found::Nothing(name) => {
                let text = self.not_found(&ctx, &name)?;
                Some((None, "unknown", Box::pin(async move { refuse(text) })))
            }
        }
    }

    /// What is said about a command that does not exist; `None` if the server wants nothing to be said.
    fn not_found(&self, ctx: &Context, name: &str) -> Option<String> {
        let wish = ctx.settings.unknown_commands.unwrap_or_default();
        let typed = first_word(name);
        if wish == UnknownCommands::Never {
            return None;
        }
        if commands::RESERVED.contains(&typed) {
            return Some(format!("🔌 {} is not part of this version", code(&ctx.typed(typed))));
        }
        match self.registry.nearest(name) {
            Some(near) => {
                Some(format!("Command \"{typed}\" not found.\n\nDid you mean \"{}{near}\"?", ctx.prefix))
            }
            None if wish == UnknownCommands::Always => Some(format!("Command \"{typed}\" not found.")),
            None => None,
        }
    }

    pub(super) async fn on_interaction(self: &Arc<Self>, interaction: Interaction, received: Instant) {
        match interaction {
            Interaction::Command(command) => self.on_command(command, received).await,
            Interaction::Component(press) => self.on_component(press, received).await,
            Interaction::Modal(modal) => self.on_modal(modal, received).await,
            Interaction::Autocomplete(typing) => self.on_autocomplete(typing).await,
            _ => {}
        }
    }

    async fn on_command(self: &Arc<Self>, interaction: CommandInteraction, received: Instant) {
        let seen = Seen::of_command(&self.services, &interaction);
        if interaction.data.kind == CommandType::Message {
            let (work, name): (Box<dyn FnOnce(Context, Known) -> Work + Send>, _) =
                match (self.registry.menu(&interaction.data.name), interaction.data.target()) {
                    (Some(menu), Some(ResolvedTarget::Message(message))) => {
                        let target = Target {
                            message_id: message.id.get(),
                            author_id: message.author.id.get(),
                            text: message.content.clone(),
                        };
                        (Box::new(move |ctx, known| chosen(ctx, known, menu, target)), menu.name)
                    }
                    _ => (Box::new(gone), "unknown"),
                };
            return self
                .interact(seen, Ask { command: None, name, private: true, on_message: false }, received, work)
                .await;
        }
        let (path, options) = flatten(&interaction.data.name, &interaction.data.options);
        let Some(command) = self.registry.slash(&path) else {
            let ask = Ask { command: None, name: "unknown", private: true, on_message: false };
            return self.interact(seen, ask, received, Box::new(gone)).await;
        };
        let args = arguments(command, options, &interaction.data.resolved.attachments);
        let ask =
            Ask { command: Some(command), name: command.name(), private: command.private, on_message: false };
        self.interact(
            seen,
            ask,
            received,
            Box::new(move |ctx, known| checked(ctx, known, command, Ok(args))),
        )
        .await;
    }

    async fn on_component(self: &Arc<Self>, interaction: ComponentInteraction, received: Instant) {
        let values = match &interaction.data.kind {
            ComponentInteractionDataKind::StringSelect { values } => values.clone(),
            _ => Vec::new(),
        };
        let files = interaction.message.attachments.iter().map(file).collect();
        let seen = Seen { files, ..Seen::of_component(&self.services, &interaction) };
        let id = interaction.data.custom_id.clone();
        self.press(seen, &id, Press { values, ..Press::default() }, true, received).await;
    }

    async fn on_modal(self: &Arc<Self>, interaction: ModalInteraction, received: Instant) {
        let fields = interaction.data.components.iter().flat_map(|row| &row.components);
        let inputs = fields
            .filter_map(|field| match field {
                ActionRowComponent::InputText(input) => {
                    Some((input.custom_id.clone(), input.value.clone().unwrap_or_default()))
                }
                _ => None,
            })
            .collect();
        let seen = Seen::of_modal(&self.services, &interaction);
        let id = interaction.data.custom_id.clone();
        self.press(seen, &id, Press { inputs, ..Press::default() }, false, received).await;
    }

    async fn press(
        self: &Arc<Self>,
        seen: Seen,
        id: &str,
        press: Press,
        on_message: bool,
        received: Instant,
    ) {
        let ask = |name| Ask { command: None, name, private: false, on_message };
        match self.registry.control(id) {
            Some((control, fields)) => {
                let press = Press { fields: fields.to_owned(), ..press };
                self.interact(
                    seen,
                    ask(control.verb),
                    received,
                    Box::new(move |ctx, known| pressed(ctx, known, control, press)),
                )
                .await;
            }
            None => {
                let old = |_, _| -> Work { Box::pin(async { refuse("⚠ That button is too old") }) };
                self.interact(seen, ask("unknown"), received, Box::new(old)).await;
            }
        }
    }

    async fn interact(
        self: &Arc<Self>,
        seen: Seen,
        ask: Ask,
        received: Instant,
        work: Box<dyn FnOnce(Context, Known) -> Work + Send>,
    ) {
        let lane = lane(seen.server, seen.user);
        let turn = self.lanes.place(lane, seen.id.get());
        if !self.is_fresh(seen.id.get()) {
            return turn.leave_to_first();
        }
        self.tell("heard", || json!({"kind": "interaction", "person": lane.1.to_string(), "text": ask.name}));
        let door = if ask.command.is_some() { Door::Slash } else { Door::Control };
        self.tell("entered", || json!({"door": format!("{door:?}")}));
        let cause = Cause::new(seen.id.get(), lane.0, lane.1);
        let settings = self.settings_of(lane.0).await;
        let prefix = self.prefix_of(&settings);
        let owed = Owed {
            cause: cause.clone(),
            prefix: prefix.clone(),
            command: ask.command,
            name: ask.name,
            received,
            surface: Surface { embeds: true, ephemeral: true },
            to: Destination::Interaction {
                id: seen.id.get(),
                token: seen.token,
                private: ask.private,
                on_message: ask.on_message,
            },
        };
        let (blocks, blocks_known) =
            or_default(self.services.bans.in_server(&self.services.dynamo, lane.0).await);
        let (settings, known) = or_defaults(settings, lane.0);
        let known = known.and(blocks_known);
        let caller = seen.caller;
        let work: Box<dyn FnOnce(Context, Known) -> Work + Send> =
            match gate::standing(&self.services, &caller, lane.0, &blocks) {
                Standing::Welcome => work,
                Standing::Told(text) => Box::new(move |_, _| Box::pin(async move { refuse(text) })),
                Standing::Silence => return,
            };
        let context = Context {
            services: self.services.clone(),
            cause: cause.clone(),
            caller,
            door,
            channel_id: seen.channel.get(),
            prefix,
            settings,
            attachments: seen.files,
        };
        let span = info_span!("command", command = ask.name, cause = %cause.id, server_id = cause.server_id, outcome = field::Empty);
        let work = in_turn(turn, work(context, known));
        self.answer(owed, work).instrument(span).await;
    }

    async fn on_autocomplete(self: &Arc<Self>, interaction: CommandInteraction) {
        let (path, options) = flatten(&interaction.data.name, &interaction.data.options);
        let focused = options.iter().find_map(|option| match &option.value {
            CommandDataOptionValue::Autocomplete { value, .. } => {
                Some((option.name.as_str(), value.as_str()))
            }
            _ => None,
        });
        let choices = match (self.registry.slash(&path), focused) {
            (Some(command), Some((name, typed))) => {
                let param = command.options.iter().find(|param| param.name == name);
                let seen = Seen::of_command(&self.services, &interaction);
                let may = timeout(SUGGEST_LIMIT, self.may_be_suggested(command, &seen)).await;
                let suggest = param.and_then(|param| param.suggest).filter(|_| may == Ok(true));
                let server_id = seen.server.map_or(0, GuildId::get);
                let typing = Typing { server_id, person_id: seen.caller.id, text: typed };
                suggest.map(|suggest| suggest(&self.services, typing)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let body = json!({ "type": 8, "data": { "choices": suggestions(choices) } });
        // Nobody waits for a suggestion that failed: the next key asks again.
        let call = self.services.discord.http.create_interaction_response(
            interaction.id,
            &interaction.token,
            &body,
            Vec::new(),
        );
        let _ = timeout(SUGGEST_LIMIT, call).await;
    }

    /// Whether somebody may use the command into which they type.
    async fn may_be_suggested(&self, command: &'static Command, seen: &Seen) -> bool {
        let server_id = seen.server.map_or(0, GuildId::get);
        let Ok(settings) = self.settings_of(server_id).await else { return false };
        let Ok(blocks) = self.services.bans.in_server(&self.services.dynamo, server_id).await else {
            return false;
        };
        let bans = self.services.bans.instance();
        let now = self.services.clock.now();
        let banned = |who| bans.as_ref().is_none_or(|bans| bans.ban_of(who, now).is_some());
        let caller = &seen.caller;
        let barred = banned(Who::Person(caller.id)) || (server_id != 0 && banned(Who::Server(server_id)));
        let blocked = blocks.ban_of(Who::Person(caller.id), now).is_some();
        !barred
            && !blocked
            && permissions::check(command.into(), caller, &settings, server_id != 0, "").is_ok()
    }

    /// Tells those who look behind the scenes.
    fn tell(&self, what: &'static str, data: impl FnOnce() -> Json) {
        self.services.instance.backstage.tell(what, data);
    }

    fn is_fresh(&self, event: u64) -> bool {
        match self.ring.take(event, self.services.clock.now()) {
            Fresh::Yes => true,
            Fresh::Repeated => {
                self.tell("repeated", || Json::Null);
                self.services.metrics.events_repeated.inc();
                false
            }
            Fresh::Stale => {
                self.services.metrics.events_stale.inc();
                false
            }
        }
    }

    async fn settings_of(&self, server_id: u64) -> Result<Arc<Settings>, dynamo::Error> {
        self.services.settings.of(&self.services.dynamo, server_id).await
    }

    /// The prefix of a server; the instance's default where it has none, or nobody knows.
    fn prefix_of(&self, settings: &Result<Arc<Settings>, dynamo::Error>) -> Arc<str> {
        let own = settings.as_ref().ok().and_then(|settings| settings.prefix.as_deref());
        own.unwrap_or(&self.services.instance.default_prefix).into()
    }

    /// Who wrote a message and what we may do there; `None` while the server is not known yet.
    fn place(&self, message: &Message, me: UserId) -> Option<Place> {
        let name = message.author.name.clone();
        let Some(guild_id) = message.guild_id else {
            let channels = vec![message.channel_id.get()];
            let caller = Caller {
                roles: Vec::new(),
                channels,
                ..caller(&self.services, message.author.id.get(), name, Permissions::empty())
            };
            return Some(Place {
                caller,
                surface: Surface { embeds: true, ephemeral: false },
                bot_role_id: None,
            });
        };
        let guild = self.services.discord.cache.guild(guild_id)?;
        let channel_id: ChannelId = message.channel_id;
        // A thread has the permissions of the channel it hangs on.
        let thread = guild.threads.iter().find(|thread| thread.id == channel_id);
        let channel_id = thread.and_then(|thread| thread.parent_id).unwrap_or(channel_id);
        // Of a channel that the gateway did not tell us about we know nothing: no rights beyond everybody's.
        let channel = guild.channels.get(&channel_id);
        let permissions = match (channel, &message.member) {
            (Some(channel), Some(member)) => {
                guild.partial_member_permissions_in(channel, message.author.id, member)
            }
            _ => Permissions::empty(),
        };
        let embeds = channel
            .zip(guild.members.get(&me))
            .is_none_or(|(channel, member)| guild.user_permissions_in(channel, member).embed_links());
        let bot_role_id =
            guild.roles.values().find(|role| role.tags.bot_id == Some(me)).map(|role| role.id.get());
        let roles =
            message.member.as_ref().map(|member| member.roles.iter().map(|role| role.get()).collect());
        let caller = Caller {
            roles: roles.unwrap_or_default(),
            channels: places(message.channel_id, thread.and_then(|thread| thread.parent_id)),
            ..caller(&self.services, message.author.id.get(), name, permissions)
        };
        Some(Place { caller, surface: Surface { embeds, ephemeral: false }, bot_role_id })
    }
}

/// Somebody with these permissions; their roles and where they are is told by the event.
fn caller(services: &Services, id: u64, name: String, permissions: Permissions) -> Caller {
    let administrator = permissions.administrator();
    Caller {
        id,
        name,
        roles: Vec::new(),
        channels: Vec::new(),
        moderator: permissions.manage_messages() || administrator,
        admin: permissions.manage_guild() || administrator,
        mentions_everyone: permissions.mention_everyone() || administrator,
        bot_owner: services.instance.bot_owners.contains(&id),
    }
}

/// A channel, and behind a thread the one that it hangs on.
fn places(channel: ChannelId, parent: Option<ChannelId>) -> Vec<u64> {
    std::iter::once(channel).chain(parent).map(ChannelId::get).collect()
}

/// What an interaction asks for, as far as its answer depends on it.
struct Ask {
    command: Option<&'static Command>,
    name: &'static str,
    private: bool,
    on_message: bool,
}

/// What all kinds of interactions have in common.
struct Seen {
    id: InteractionId,
    token: String,
    server: Option<GuildId>,
    channel: ChannelId,
    user: UserId,
    caller: Caller,
    /// Those of the message whose control was pressed.
    files: Vec<Attachment>,
}

macro_rules! seen {
    ($name:ident, $kind:ty) => {
        fn $name(services: &Services, interaction: &$kind) -> Self {
            let member = interaction.member.as_ref();
            let permissions = member.and_then(|member| member.permissions).unwrap_or(Permissions::empty());
            let thread = interaction.channel.as_ref().filter(|channel| channel.thread_metadata.is_some());
            let user = &interaction.user;
            Self {
                id: interaction.id,
                token: interaction.token.clone(),
                server: interaction.guild_id,
                channel: interaction.channel_id,
                user: user.id,
                caller: Caller {
                    roles: member
                        .map(|member| member.roles.iter().map(|role| role.get()).collect())
                        .unwrap_or_default(),
                    channels: places(interaction.channel_id, thread.and_then(|thread| thread.parent_id)),
                    ..caller(services, user.id.get(), user.name.clone(), permissions)
                },
                files: Vec::new(),
            }
        }
    };
}

impl Seen {
    seen!(of_command, CommandInteraction);
    seen!(of_component, ComponentInteraction);
    seen!(of_modal, ModalInteraction);
}

/// Whether it is known what the server has decided; if not, why.
type Known = Result<(), dynamo::Error>;

fn or_defaults(settings: Result<Arc<Settings>, dynamo::Error>, server_id: u64) -> (Arc<Settings>, Known) {
    match settings {
        Ok(settings) => (settings, Ok(())),
        Err(error) => (Arc::new(Settings::new(server_id)), Err(error)),
    }
}

fn or_default<T: Default>(found: Result<Arc<T>, dynamo::Error>) -> (Arc<T>, Known) {
    match found {
        Ok(found) => (found, Ok(())),
        Err(error) => (Arc::default(), Err(error)),
    }
}

fn first_word(words: &str) -> &str {
    words.split(' ').next().unwrap_or_default()
}

fn failed(error: Error) -> Work {
    Box::pin(async move { Err(error) })
}

/// Refuses whoever may not, or if nobody knows.
fn allowed(ctx: &Context, known: Known, asked: Asked) -> Result<(), Error> {
    if !asked.command.offline {
        known.map_err(Error::Store)?;
    }
    permissions::check(asked, &ctx.caller, &ctx.settings, ctx.cause.server_id != 0, &ctx.prefix)
}

/// The command behind the gate: place, rules and level first, then the arguments, then the work.
fn checked(ctx: Context, known: Known, command: &'static Command, args: Result<Args, Error>) -> Work {
    let same_as = args.as_ref().ok().and_then(command.same_as).and_then(commands::named);
    let asked = Asked { command, same_as };
    match allowed(&ctx, known, asked).and(args) {
        Ok(args) => Box::pin(gate::run(ctx, asked, args)),
        Err(error) => failed(error),
    }
}

/// A button, select menu or modal behind the gate of the command that it belongs to. That command has taken
/// its cooldown when it showed the control.
fn pressed(ctx: Context, known: Known, control: &'static Control, press: Press) -> Work {
    let allowed = match control.command.and_then(commands::named) {
        Some(command) => allowed(&ctx, known, command.into()),
        None => known.map_err(Error::Store),
    };
    match allowed {
        Ok(()) => {
            let button = format!("{}:{}", control.verb, press.fields);
            ctx.services.state::<Questions>().settle(&ctx, &button);
            (control.run)(ctx, press)
        }
        Err(error) => failed(error),
    }
}

/// The menu of a message behind the gate of its command. It is a way to start that, so it takes the cooldown.
fn chosen(ctx: Context, known: Known, menu: &'static Menu, target: Target) -> Work {
    let command = commands::named(menu.command).expect("a test looks every menu's command up");
    if let Err(error) = allowed(&ctx, known, command.into()) {
        return failed(error);
    }
    let toll = gate::toll(&ctx.settings, command.into(), &ctx.cause, ctx.channel_id);
    let cause = ctx.cause.clone().with_toll(toll);
    Box::pin(async move {
        gate::take(&ctx.services, &cause, &ctx.typed(command.name())).await?;
        (menu.run)(ctx, target).await
    })
}

/// The work behind its turn in the lane.
fn in_turn(turn: Turn, work: Work) -> Work {
    async move {
        turn.come().await;
        let answer = guarded(work).await;
        drop(turn);
        answer
    }
    .boxed()
}

/// A command that Discord still lists and we no longer have.
fn gone(_: Context, _: Known) -> Work {
    Box::pin(async { Ok(Answer::Reply(Reply::from("⚠ I don't know that command any more").private())) })
}

/// The path of a slash command, `rem set`, and the options at its end.
fn flatten<'a>(name: &str, options: &'a [CommandDataOption]) -> (String, &'a [CommandDataOption]) {
    let (mut path, mut options) = (name.to_owned(), options);
    while let [CommandDataOption { name, value, .. }] = options {
        match value {
            CommandDataOptionValue::SubCommand(inner) | CommandDataOptionValue::SubCommandGroup(inner) => {
                path = format!("{path} {name}");
                options = inner;
            }
            _ => break,
        }
    }
    (path, options)
}

fn file(attachment: &DiscordFile) -> Attachment {
    let (name, url) = (attachment.filename.clone(), attachment.url.clone());
    Attachment { name, bytes: attachment.size.into(), url }
}

/// Slash options by the names that the command gave them; what it does not know is left out.
fn arguments(
    command: &Command,
    options: &[CommandDataOption],
    files: &HashMap<AttachmentId, DiscordFile>,
) -> Args {
    options.iter().fold(Args::new(), |args, option| {
        let Some(param) = command.options.iter().find(|param| param.name == option.name) else { return args };
        match &option.value {
            CommandDataOptionValue::String(text) => args.with_text(param.name, text.as_str()),
            CommandDataOptionValue::Integer(number) => args.with(param.name, Value::Integer(*number)),
            CommandDataOptionValue::Boolean(flag) => args.with(param.name, Value::Bool(*flag)),
            CommandDataOptionValue::User(id) => args.with(param.name, Value::Person(id.get())),
            CommandDataOptionValue::Channel(id) => args.with(param.name, Value::Channel(id.get())),
            CommandDataOptionValue::Attachment(id) => match files.get(id) {
                Some(found) => args.with(param.name, Value::Attachment(file(found))),
                None => args,
            },
            _ => args,
        }
    })
}

fn suggestions(choices: Vec<Choice>) -> Vec<Json> {
    let fits = |choice: &Choice| {
        (1..=Choice::CHARS_MAX).contains(&choice.value.chars().count())
            && (1..=Choice::CHARS_MAX).contains(&choice.label.chars().count())
    };
    let shown = choices.into_iter().filter(fits).take(Choice::SHOWN_MAX);
    shown.map(|choice| json!({ "name": choice.label, "value": choice.value })).collect()
}
