-- What SQL, policies and functions can ask about the request they serve (contract 02 §3.3-3.4).
--
-- None of these ever raises: unset, empty and malformed settings all mean "nobody". Policies call them once per row,
-- so they are written for speed: a few microseconds, half of that when the gateway set `run402.user_id` and nothing
-- has to be parsed. `(select auth.uid())` in a policy is evaluated once per statement and costs nothing.
--
-- Names are qualified, so the caller's search path cannot change what the bodies mean; a SET clause would cost more
-- than the body.

-- One claim as text (objects as JSON text); the older setting `request.jwt.claim.<name>` when the claims lack it.
create function auth.jwt_claim(name text) returns text
    language plpgsql stable parallel safe
as $$
declare
    claims text := pg_catalog.current_setting('request.jwt.claims', true);
    claim  text;
begin
    if claims is json object then
        -- Escapes can be valid JSON and yet not be text (a NUL, half a surrogate pair): those need the full check.
        if pg_catalog.strpos(claims, '\u') operator(pg_catalog.=) 0 then
            claim := claims::pg_catalog.json operator(pg_catalog.->>) name;
        elsif pg_catalog.pg_input_is_valid(claims, 'pg_catalog.jsonb') then
            claim := claims::pg_catalog.jsonb operator(pg_catalog.->>) name;
        end if;
    end if;
    if claim is null then
        claim := nullif(
            pg_catalog.current_setting('request.jwt.claim.' operator(pg_catalog.||) name, true), ''
        );
    end if;
    return claim;
end
$$;

-- The claims of the verified token; an empty object when there are none.
create function auth.jwt() returns jsonb
    language plpgsql stable parallel safe
as $$
declare
    claims text := pg_catalog.current_setting('request.jwt.claims', true);
begin
    if claims is json object and pg_catalog.pg_input_is_valid(claims, 'pg_catalog.jsonb') then
        return claims::pg_catalog.jsonb;
    end if;
    return '{}'::pg_catalog.jsonb;
end
$$;

create function auth.role() returns text
    language sql stable parallel safe
    return nullif(auth.jwt_claim('role'), '');

create function auth.project_id() returns text
    language sql stable parallel safe
    return nullif(auth.jwt_claim('project_id'), '');

-- The signed-in end user: the claim `sub` where it is a UUID.
create function auth.uid() returns uuid
    language plpgsql stable parallel safe
as $$
declare
    -- The gateway also sets the subject by itself. It is trusted only where the claims say the same, so SQL that
    -- changes the claims changes the user.
    subject text := nullif(pg_catalog.current_setting('run402.user_id', true), '');
begin
    if subject is null
       or pg_catalog.strpos(
              pg_catalog.current_setting('request.jwt.claims', true),
              '"sub":"' operator(pg_catalog.||) subject operator(pg_catalog.||) '"'
          ) operator(pg_catalog.=) 0
    then
        subject := auth.jwt_claim('sub');
    end if;
    -- Four dashes in their places and hexadecimal digits around them; a regular expression is four times as slow.
    if subject operator(pg_catalog.~~) '________-____-____-____-____________'
       and pg_catalog.translate(subject, '0123456789abcdefABCDEF', '') operator(pg_catalog.=) '----'
    then
        return subject::pg_catalog.uuid;
    end if;
    return null;
end
$$;

create function run402.current_user_id() returns uuid
    language plpgsql stable parallel safe
as $$
declare
    subject text := pg_catalog.current_setting('run402.user_id', true);
begin
    if subject operator(pg_catalog.~~) '________-____-____-____-____________'
       and pg_catalog.translate(subject, '0123456789abcdefABCDEF', '') operator(pg_catalog.=) '----'
    then
        return subject::pg_catalog.uuid;
    end if;
    return null;
end
$$;

create function run402.current_project_id() returns text
    language sql stable parallel safe
    return nullif(current_setting('run402.project_id', true), '');

create function run402.current_session_id() returns text
    language sql stable parallel safe
    return nullif(current_setting('run402.session_id', true), '');

create function run402.current_authz_version() returns bigint
    language sql stable parallel safe
    return case
        when pg_input_is_valid(current_setting('run402.authz_version', true), 'bigint')
            then current_setting('run402.authz_version', true)::bigint
    end;

-- `owner = auth.uid()` has to compile whether `owner` is uuid or text. Compared as text. The functions inline, so
-- an index on a text column still serves. Untyped literals and parameters keep resolving to the column's type.
create function extensions.text_equals_uuid(text, uuid) returns boolean
    language sql immutable strict parallel safe return $1 = $2::text;
create function extensions.uuid_equals_text(uuid, text) returns boolean
    language sql immutable strict parallel safe return $1::text = $2;
create function extensions.text_differs_from_uuid(text, uuid) returns boolean
    language sql immutable strict parallel safe return $1 <> $2::text;
create function extensions.uuid_differs_from_text(uuid, text) returns boolean
    language sql immutable strict parallel safe return $1::text <> $2;

create operator extensions.= (
    leftarg = text, rightarg = uuid, function = extensions.text_equals_uuid,
    commutator = operator(extensions.=), negator = operator(extensions.<>), restrict = eqsel, join = eqjoinsel
);
create operator extensions.= (
    leftarg = uuid, rightarg = text, function = extensions.uuid_equals_text,
    commutator = operator(extensions.=), negator = operator(extensions.<>), restrict = eqsel, join = eqjoinsel
);
create operator extensions.<> (
    leftarg = text, rightarg = uuid, function = extensions.text_differs_from_uuid,
    commutator = operator(extensions.<>), negator = operator(extensions.=), restrict = neqsel, join = neqjoinsel
);
create operator extensions.<> (
    leftarg = uuid, rightarg = text, function = extensions.uuid_differs_from_text,
    commutator = operator(extensions.<>), negator = operator(extensions.=), restrict = neqsel, join = neqjoinsel
);
