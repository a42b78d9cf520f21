//! SKELETON: raw SQL and schema introspection.
