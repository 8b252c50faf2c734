//! From the command line to a daemon that is ready, and to its end.

mod data_dir;
mod empty_world;
mod first_run;
mod listen;
mod logs;
mod notify;
mod open_files;
mod services;
mod small_disks;
mod small_memory;
mod sockets;
mod start_disk;
mod startup;
mod unit;
mod upgrade;
