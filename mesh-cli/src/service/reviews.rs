//! reviews: v1 shows no stars, v2 black ones, v3 red ones.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use proxyless::Mesh;
use serde_json::{Value, json};

use super::calls::Calls;
use super::json;
use crate::Error;

/// As Istio's sample: v3 is less patient with ratings.
const PATIENCE: Duration = Duration::from_secs(10);
const LITTLE_PATIENCE: Duration = Duration::from_millis(2_500);

struct Reviews {
    pod: String,
    calls: Calls,
    stars: Option<Stars>,
}

#[derive(Clone, Copy)]
struct Stars {
    color: &'static str,
    patience: Duration,
}

pub(super) fn router(mesh: &Mesh) -> Result<Router, Error> {
    let version = std::env::var("SERVICE_VERSION").unwrap_or_else(|_| "v1".to_owned());
    let reviews = Reviews {
        pod: std::env::var("POD_NAME").unwrap_or_default(),
        calls: Calls::new(mesh),
        stars: stars(&version)?,
    };
    Ok(Router::new()
        .route("/reviews/{id}", get(answer))
        .with_state(Arc::new(reviews)))
}

fn stars(version: &str) -> Result<Option<Stars>, Error> {
    let (color, patience) = match version {
        "v1" => return Ok(None),
        "v2" => ("black", PATIENCE),
        "v3" => ("red", LITTLE_PATIENCE),
        _ => return Err(format!("SERVICE_VERSION is {version:?}; write v1, v2 or v3").into()),
    };
    Ok(Some(Stars { color, patience }))
}

async fn answer(
    State(reviews): State<Arc<Reviews>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(id) = id.parse::<u32>() else {
        return json(
            StatusCode::BAD_REQUEST,
            json!({"error": "please provide numeric product id"}),
        );
    };
    let ratings = match reviews.stars {
        None => None,
        Some(stars) => {
            let uri = format!("http://ratings:9080/ratings/{id}");
            Some((
                stars.color,
                reviews.calls.get(&uri, &headers, stars.patience).await.ok(),
            ))
        }
    };
    json(StatusCode::OK, page(id, &reviews.pod, ratings))
}

/// The reviews, with stars of a colour if there should be any and ratings answered.
fn page(id: u32, pod: &str, ratings: Option<(&str, Option<Value>)>) -> Value {
    let review = |reviewer: &str, text: &str| {
        let mut review = json!({"reviewer": reviewer, "text": text});
        if let Some((color, ratings)) = &ratings {
            let stars = ratings
                .as_ref()
                .and_then(|answer| answer["ratings"][reviewer].as_u64());
            review["rating"] = match stars {
                Some(stars) => json!({"stars": stars, "color": color}),
                None => json!({"error": "Ratings service is currently unavailable"}),
            };
        }
        review
    };
    json!({
        "id": id.to_string(),
        "podname": pod,
        "reviews": [
            review("Reviewer1", "Two pairs of twins, one town, no way to tell who is who: I laughed all evening."),
            review("Reviewer2", "Short, fast and silly. Not his deepest play, but the one to start with."),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_follow_the_version() {
        assert!(stars("v1").unwrap().is_none());
        assert_eq!(stars("v3").unwrap().unwrap().color, "red");
        assert!(stars("v4").is_err());
        let ratings = json!({"ratings": {"Reviewer1": 5, "Reviewer2": 4}});
        let with = page(0, "p", Some(("red", Some(ratings))));
        assert_eq!(
            with["reviews"][1]["rating"],
            json!({"stars": 4, "color": "red"})
        );
        assert_eq!(page(0, "p", None)["reviews"][0].get("rating"), None);
        let without = page(0, "p", Some(("red", None)));
        assert_eq!(
            without["reviews"][0]["rating"]["error"],
            "Ratings service is currently unavailable"
        );
    }
}
