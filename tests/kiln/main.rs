//! kiln from the outside: the rules of the house, and whole sessions through the compiled command.

mod building;
mod house;
mod session;
