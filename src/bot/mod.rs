//! The bot on Discord.
