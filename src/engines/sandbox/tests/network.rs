//! The network as a guest meets it.

use super::text;

#[tokio::test]
async fn a_function_cannot_reach_addresses_that_are_not_public() {
    for url in [
        "http://127.0.0.1:1/", "http://10.0.0.1/", "http://192.168.0.1/", "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:1/", "http://[::ffff:127.0.0.1]/", "http://localhost:1/", "http://0.0.0.0/", "http://2130706433/",
    ] {
        let source = format!("export default () => fetch('{url}').then(() => 'reached', (e) => `${{e.name}} ${{e.message}} ${{e.cause?.code}}`)");
        assert_eq!(text(&source).await, "\"TypeError fetch failed ERR_EGRESS_DENIED\"", "{url}");
    }
}
