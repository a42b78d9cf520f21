//! Whole exchanges against a real server.
