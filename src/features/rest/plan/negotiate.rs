//! Chooses how the body is written, from `Accept` and what can be produced (contract 02 §7.12).

use axum::http::StatusCode;

use super::PlanSettings;
use crate::features::rest::{
    error::NativeError,
    request::media::{MediaType, PlanRequest},
    schema_cache::{Function, SchemaCache},
};

/// How rows become a body.
#[derive(Clone, Debug, PartialEq)]
pub enum BodyFormat {
    /// An array, or the bare value of a function that returns one.
    Json {
        stripped: bool,
    },
    /// Exactly one row.
    Object {
        stripped: bool,
    },
    Csv,
    /// Names the schema of PostGIS.
    GeoJson {
        schema: String,
    },
    /// An aggregate over the rows, cast to the row type when it wants one.
    Aggregate {
        function: String,
        row_type: Option<String>,
    },
    /// The value of the called function as it is.
    Value,
    Explain {
        of: Box<BodyFormat>,
        request: PlanRequest,
    },
    OpenApi,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Negotiated {
    pub format: BodyFormat,
    pub content_type: String,
}

impl Negotiated {
    /// The result must be exactly one row (PGRST116 otherwise).
    pub fn is_single(&self) -> bool {
        matches!(self.format, BodyFormat::Object { .. })
    }
}

/// The root document comes in one format.
pub fn root(accept: &[MediaType]) -> Result<Negotiated, NativeError> {
    pick(accept, |media| {
        matches!(media, MediaType::OpenApi | MediaType::Json | MediaType::Any)
            .then(|| Negotiated { format: BodyFormat::OpenApi, content_type: MediaType::OpenApi.content_type() })
    })
}

pub fn relation(
    accept: &[MediaType],
    cache: &SchemaCache,
    relation: &str,
    default_select: bool,
    settings: PlanSettings,
) -> Result<Negotiated, NativeError> {
    pick(accept, |media| {
        with_plans(media, settings, |media| {
            let custom = if default_select { aggregate(media, cache, Some(relation)) } else { None };
            custom.or_else(|| built_in(media, cache))
        })
    })
}

pub fn function(
    accept: &[MediaType],
    cache: &SchemaCache,
    function: &Function,
    default_select: bool,
    settings: PlanSettings,
) -> Result<Negotiated, NativeError> {
    let relation = match &function.returns {
        crate::features::rest::schema_cache::Returns::Row { relation } => relation.as_deref(),
        _ => None,
    };
    pick(accept, |media| {
        with_plans(media, settings, |media| {
            let own = function.media_type.as_deref().filter(|own| *own == "*/*" || *own == media.essence());
            if let Some(own) = own.filter(|_| !is_parameterised(media)) {
                return Some(Negotiated { format: BodyFormat::Value, content_type: custom_type(own) });
            }
            let custom = match relation {
                Some(relation) if default_select => aggregate(media, cache, Some(relation)),
                _ => None,
            };
            custom.or_else(|| built_in(media, cache))
        })
    })
}

fn pick(accept: &[MediaType], choose: impl Fn(&MediaType) -> Option<Negotiated>) -> Result<Negotiated, NativeError> {
    accept.iter().find_map(choose).ok_or_else(|| {
        let names: Vec<&str> = accept.iter().map(MediaType::essence).collect();
        NativeError::new(
            StatusCode::NOT_ACCEPTABLE,
            "PGRST107",
            format!("None of these media types are available: {}", names.join(", ")),
        )
    })
}

fn with_plans(
    media: &MediaType,
    settings: PlanSettings,
    choose: impl Fn(&MediaType) -> Option<Negotiated>,
) -> Option<Negotiated> {
    let MediaType::Plan(request) = media else { return choose(media) };
    if !settings.explain {
        return None;
    }
    let explained = choose(&request.of)?;
    Some(Negotiated {
        content_type: media.content_type(),
        format: BodyFormat::Explain { of: Box::new(explained.format), request: request.clone() },
    })
}

/// Vendor types carry their meaning in parameters and cannot be taken over by custom handlers.
fn is_parameterised(media: &MediaType) -> bool {
    matches!(media, MediaType::Object { .. } | MediaType::ArrayStripped | MediaType::Plan(_))
}

fn aggregate(media: &MediaType, cache: &SchemaCache, relation: Option<&str>) -> Option<Negotiated> {
    if is_parameterised(media) {
        return None;
    }
    let fits = |wanted: Option<&str>| {
        let exact = cache.media_aggregates.iter().filter(move |one| one.relation.as_deref() == wanted);
        exact
            .clone()
            .find(|one| one.media_type == "*/*")
            .or_else(|| exact.clone().find(|one| one.media_type == media.essence()))
    };
    let found = relation
        .and_then(|name| fits(Some(name)))
        .or_else(|| fits(None).filter(|one| one.media_type == media.essence()))?;
    Some(Negotiated {
        format: BodyFormat::Aggregate { function: found.function.clone(), row_type: found.relation.clone() },
        content_type: custom_type(&found.media_type),
    })
}

fn custom_type(media_type: &str) -> String {
    match media_type {
        "*/*" => "application/octet-stream".to_owned(),
        named => MediaType::parse(named).content_type(),
    }
}

fn built_in(media: &MediaType, cache: &SchemaCache) -> Option<Negotiated> {
    let format = match media {
        MediaType::Json | MediaType::Any => BodyFormat::Json { stripped: false },
        MediaType::ArrayStripped => BodyFormat::Json { stripped: true },
        MediaType::Object { stripped } => BodyFormat::Object { stripped: *stripped },
        MediaType::Csv => BodyFormat::Csv,
        MediaType::GeoJson => BodyFormat::GeoJson { schema: cache.postgis_schema.clone()? },
        MediaType::OpenApi | MediaType::Plan(_) | MediaType::Other(_) => return None,
    };
    Some(Negotiated { format, content_type: media.content_type() })
}
