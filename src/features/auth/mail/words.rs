//! The sentences of the mails in the languages we have.

/// A language of mails and pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::auth) struct Locale(usize);

/// `{project}` stands for the project's name.
pub(super) struct Words {
    tag: &'static str,
    pub sign_in_subject: &'static str,
    pub sign_in_body: &'static str,
    pub sign_in_button: &'static str,
    pub invite_subject: &'static str,
    pub invite_body: &'static str,
    pub invite_button: &'static str,
    pub notice_subject: &'static str,
    pub notice_body: &'static str,
    pub expiry: &'static str,
    pub ignore: &'static str,
}

impl Locale {
    /// The language of a tag such as `de` or `de-AT`, or of an `Accept-Language` header; English when we have none
    /// of those named.
    pub fn of(wanted: &str) -> Self {
        let known = wanted.split(',').take(20).find_map(|part| {
            let tag = part.split(';').next().unwrap_or_default().trim();
            let language = tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
            TABLE.iter().position(|words| words.tag == language)
        });
        Self(known.unwrap_or(0))
    }

    pub fn tag(self) -> &'static str {
        self.words().tag
    }

    pub(super) fn words(self) -> &'static Words {
        TABLE.get(self.0).unwrap_or(&TABLE[0])
    }

    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TABLE.len()).map(Self)
    }
}

static TABLE: [Words; 9] = [
    Words {
        tag: "en",
        sign_in_subject: "Sign in to {project}",
        sign_in_body: "Use this link to sign in to {project}.",
        sign_in_button: "Sign in",
        invite_subject: "You are invited to {project}",
        invite_body: "You have been invited to {project}. Use this link to accept.",
        invite_button: "Accept the invitation",
        notice_subject: "Sign-up attempt at {project}",
        notice_body: "Somebody tried to create an account at {project} with your address. You already have one.",
        expiry: "The link works once and expires in 15 minutes.",
        ignore: "If you did not ask for this, you can ignore this message.",
    },
    Words {
        tag: "de",
        sign_in_subject: "Anmelden bei {project}",
        sign_in_body: "Mit diesem Link melden Sie sich bei {project} an.",
        sign_in_button: "Anmelden",
        invite_subject: "Einladung zu {project}",
        invite_body: "Sie wurden zu {project} eingeladen. Mit diesem Link nehmen Sie an.",
        invite_button: "Einladung annehmen",
        notice_subject: "Versuchte Registrierung bei {project}",
        notice_body: "Jemand wollte mit Ihrer Adresse ein Konto bei {project} anlegen. Sie haben schon eines.",
        expiry: "Der Link gilt einmal und läuft in 15 Minuten ab.",
        ignore: "Wenn Sie das nicht angefordert haben, ignorieren Sie diese Nachricht.",
    },
    Words {
        tag: "fr",
        sign_in_subject: "Connexion à {project}",
        sign_in_body: "Utilisez ce lien pour vous connecter à {project}.",
        sign_in_button: "Se connecter",
        invite_subject: "Invitation à rejoindre {project}",
        invite_body: "Vous êtes invité à rejoindre {project}. Utilisez ce lien pour accepter.",
        invite_button: "Accepter l’invitation",
        notice_subject: "Tentative d’inscription à {project}",
        notice_body: "Quelqu’un a voulu créer un compte sur {project} avec votre adresse. Vous en avez déjà un.",
        expiry: "Le lien fonctionne une seule fois et expire dans 15 minutes.",
        ignore: "Si vous n’avez rien demandé, ignorez ce message.",
    },
    Words {
        tag: "es",
        sign_in_subject: "Iniciar sesión en {project}",
        sign_in_body: "Use este enlace para iniciar sesión en {project}.",
        sign_in_button: "Iniciar sesión",
        invite_subject: "Invitación a {project}",
        invite_body: "Ha recibido una invitación a {project}. Use este enlace para aceptarla.",
        invite_button: "Aceptar la invitación",
        notice_subject: "Intento de registro en {project}",
        notice_body: "Alguien intentó crear una cuenta en {project} con su dirección. Usted ya tiene una.",
        expiry: "El enlace sirve una sola vez y caduca en 15 minutos.",
        ignore: "Si no lo ha solicitado, ignore este mensaje.",
    },
    Words {
        tag: "sk",
        sign_in_subject: "Prihlásenie do {project}",
        sign_in_body: "Týmto odkazom sa prihlásite do {project}.",
        sign_in_button: "Prihlásiť sa",
        invite_subject: "Pozvánka do {project}",
        invite_body: "Dostali ste pozvánku do {project}. Týmto odkazom ju prijmete.",
        invite_button: "Prijať pozvánku",
        notice_subject: "Pokus o registráciu v {project}",
        notice_body: "Niekto sa pokúsil vytvoriť účet v {project} s vašou adresou. Účet už máte.",
        expiry: "Odkaz funguje raz a platí 15 minút.",
        ignore: "Ak ste o to nežiadali, správu ignorujte.",
    },
    Words {
        tag: "cs",
        sign_in_subject: "Přihlášení do {project}",
        sign_in_body: "Tímto odkazem se přihlásíte do {project}.",
        sign_in_button: "Přihlásit se",
        invite_subject: "Pozvánka do {project}",
        invite_body: "Dostali jste pozvánku do {project}. Tímto odkazem ji přijmete.",
        invite_button: "Přijmout pozvánku",
        notice_subject: "Pokus o registraci v {project}",
        notice_body: "Někdo se pokusil vytvořit účet v {project} s vaší adresou. Účet už máte.",
        expiry: "Odkaz funguje jednou a platí 15 minut.",
        ignore: "Pokud jste o to nežádali, zprávu ignorujte.",
    },
    Words {
        tag: "it",
        sign_in_subject: "Accedi a {project}",
        sign_in_body: "Usa questo link per accedere a {project}.",
        sign_in_button: "Accedi",
        invite_subject: "Invito a {project}",
        invite_body: "Hai ricevuto un invito a {project}. Usa questo link per accettarlo.",
        invite_button: "Accetta l’invito",
        notice_subject: "Tentativo di registrazione a {project}",
        notice_body: "Qualcuno ha provato a creare un account su {project} con il tuo indirizzo. Ne hai già uno.",
        expiry: "Il link funziona una sola volta e scade tra 15 minuti.",
        ignore: "Se non l’hai chiesto tu, ignora questo messaggio.",
    },
    Words {
        tag: "pt",
        sign_in_subject: "Entrar em {project}",
        sign_in_body: "Use este link para entrar em {project}.",
        sign_in_button: "Entrar",
        invite_subject: "Convite para {project}",
        invite_body: "Recebeu um convite para {project}. Use este link para aceitar.",
        invite_button: "Aceitar o convite",
        notice_subject: "Tentativa de registo em {project}",
        notice_body: "Alguém tentou criar uma conta em {project} com o seu endereço. Já tem uma.",
        expiry: "O link funciona uma só vez e expira em 15 minutos.",
        ignore: "Se não fez este pedido, ignore esta mensagem.",
    },
    Words {
        tag: "pl",
        sign_in_subject: "Logowanie do {project}",
        sign_in_body: "Użyj tego linku, aby zalogować się do {project}.",
        sign_in_button: "Zaloguj się",
        invite_subject: "Zaproszenie do {project}",
        invite_body: "Masz zaproszenie do {project}. Użyj tego linku, aby je przyjąć.",
        invite_button: "Przyjmij zaproszenie",
        notice_subject: "Próba rejestracji w {project}",
        notice_body: "Ktoś próbował założyć konto w {project} z Twoim adresem. Masz już konto.",
        expiry: "Link działa raz i wygasa po 15 minutach.",
        ignore: "Jeśli to nie Ty, zignoruj tę wiadomość.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_found_in_tags_and_headers() {
        for (wanted, expected) in [
            ("de", "de"),
            ("de-AT", "de"),
            ("SK_sk", "sk"),
            ("xx, fr;q=0.8, en", "fr"),
            ("", "en"),
            ("zz", "en"),
            ("*", "en"),
        ] {
            assert_eq!(Locale::of(wanted).tag(), expected, "{wanted}");
        }
    }
}
