//! mneme: a self-hosted Discord bot whose commands remember.
//!
//! The modules in reading order. `ARCHITECTURE.md` has the map and the reasons.
//!
//! - the ground: [`clock`], [`cause`], [`tasks`], [`config`], [`telemetry`]
//! - what is remembered: [`dynamo`] (typed records over the AWS SDK), [`history`] (head and revision in one
//!   transaction), [`settings`], [`people`], [`counts`], [`shared`] (data between bots), [`tables`] (every
//!   table in one list)
//! - what people type: [`context`] (what a command can reach and return), [`commands`] (one file per
//!   feature), [`markdown`] (text that is safe to send)
//! - who speaks Discord: [`bot`] for the bot, [`sim`] for a Discord to try and test it on
//! - the roles of the executable: [`run`], [`playground`] (all of it in one process), [`doctor`]
//! - the faces: [`web`]

pub mod bot;
pub mod cause;
pub mod clock;
pub mod commands;
pub mod config;
pub mod context;
pub mod counts;
pub mod doctor;
pub mod dynamo;
pub mod history;
pub mod markdown;
pub mod people;
pub mod playground;
pub mod run;
pub mod settings;
pub mod shared;
pub mod sim;
pub mod tables;
pub mod tasks;
pub mod telemetry;
pub mod web;
