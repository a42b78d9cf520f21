//! SKELETON. What a browser sees on a tenant host (contract 04): lookup, headers, ranges, compression, `/_blob/`, resolve.
