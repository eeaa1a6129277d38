//! mneme: a self-hosted Discord bot whose commands remember.
//!
//! The modules in reading order. `ARCHITECTURE.md` has the map and the reasons.
//!
//! - the ground: [`clock`], [`cause`], [`tasks`], [`config`], [`telemetry`],
//!   [`finding`] (what an examination found), [`backstage`] (what happens behind an answer)
//! - what is remembered: [`dynamo`] (typed records over the AWS SDK), [`history`] (head and revision in one
//!   transaction), [`settings`], [`people`], [`counts`], [`due`] (what must happen later), [`shared`] (data
//!   between bots), [`relay`] (words between bots on several hosts), [`archive`] (files of records),
//!   [`tables`] (every table in one list)
//! - what people type: [`context`] (what a command can reach and return), [`commands`] (one file per
//!   feature), [`calendar`] (times in words), [`markdown`] (text that is safe to send)
//! - who speaks Discord: [`bot`] for the bot, [`sim`] for a Discord to try and test it on
//! - files that people write: [`yaml`]
//! - the roles of the executable: [`run`], [`playground`] (all of it in one process), [`doctor`],
//!   [`data`] (moving records, [`adopt`]: from the original bot)
//! - simulated people: [`army`]
//! - the faces: [`web`]

pub mod adopt;
pub mod archive;
pub mod army;
pub mod backstage;
pub mod bans;
pub mod bot;
pub mod calendar;
pub mod cause;
pub mod clock;
pub mod commands;
pub mod config;
pub mod context;
pub mod cooldowns;
pub mod copies;
pub mod counts;
pub mod data;
pub mod doctor;
pub mod due;
pub mod dynamo;
pub mod finding;
pub mod history;
pub mod markdown;
pub mod people;
pub mod permissions;
pub mod playground;
pub mod relay;
pub mod run;
pub mod sandbox;
pub mod settings;
pub mod shared;
pub mod sim;
pub mod tables;
pub mod tasks;
pub mod telemetry;
pub mod web;
pub mod yaml;

/// Of everything that links this: the executable, its tests and its benchmarks.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
