//! What kinds default, refuse and print, driven through the registry in-process.

mod recorded;
