//! SKELETON. `/subdomains/v1`: claim, list, delete (contract 04 §8), as changes of the release.
