//! Operation codes, as in web/guest/src/ops.ts.

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident $spelling:literal = $code:literal,)*) => {
        /// What a guest can ask for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Op { $($(#[$doc])* $name = $code,)* }

        impl Op {
            pub(super) fn of(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }

        #[cfg(test)]
        const SPELLINGS: &[(&str, i32)] = &[$(($spelling, $code),)*];
    };
}

operations! {
    Log "log" = 1,
    Random "random" = 2,
    UrlParse "urlParse" = 3,
    UrlSet "urlSet" = 4,
    TextDecode "textDecode" = 5,
    TextLabel "textLabel" = 6,
    Digest "digest" = 10,
    Crypto "crypto" = 11,
    ZlibOpen "zlibOpen" = 20,
    ZlibWrite "zlibWrite" = 21,
    ZlibClose "zlibClose" = 22,
    Fetch "fetch" = 40,
    BodyRead "bodyRead" = 41,
    BodyCancel "bodyCancel" = 42,
    UploadWrite "uploadWrite" = 43,
    UploadEnd "uploadEnd" = 44,
    Cancel "cancel" = 45,
    Dns "dns" = 50,
    Service "service" = 60,
    Zone "zone" = 70,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_and_the_host_number_operations_alike() {
        let guest = std::fs::read_to_string("web/guest/src/ops.ts").unwrap();
        let found: Vec<(&str, i32)> = guest
            .lines()
            .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
            .filter_map(|(name, code)| Some((name, code.parse().ok()?)))
            .collect();
        assert_eq!(found, SPELLINGS);
    }
}
