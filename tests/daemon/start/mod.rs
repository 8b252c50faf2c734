//! From the command line to a daemon that is ready, and to its end.

mod data_dir;
mod flags;
mod listen;
mod open_files;
mod small_disks;
mod sockets;
mod start_disk;
mod startup;
mod unit;
