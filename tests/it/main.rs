//! What users see, over the wire, and the conventions that hold the project together.

mod chats;
mod doors;
mod generated;
mod harness;
mod isolation;
mod memories;
mod tidy;
