//! kiln from the outside: the rules of the house, and whole sessions through the compiled command.

mod application;
mod archives;
mod build_flags;
mod building;
mod cache;
mod changes;
mod checking;
mod containers;
mod faults;
mod health;
mod house;
mod limits;
mod namespaces;
mod options;
mod outputs;
mod portable;
mod registries;
mod run_flags;
mod running;
mod sandbox;
mod session;
mod sources;
mod steps;
mod stubs;
mod terminal;
mod user;
