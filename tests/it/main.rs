//! What users see, over the wire, and the conventions that hold the project together.

mod adopt;
mod chats;
mod child;
mod control;
mod doctor;
mod doors;
mod endpoint;
mod faults;
mod gateway;
mod generated;
mod harness;
mod isolation;
mod kill;
mod ledger;
mod memories;
mod once;
mod privacy;
mod process;
mod random;
mod reminders;
mod schedules;
mod sending;
mod sparkles;
mod stack;
mod statistics;
mod tidy;
