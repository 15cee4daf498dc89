//! The routing table of the HTTP API, from the template's events alone. A path segment in braces matches one segment that isn't empty;
//! a literal one goes before it, as in API Gateway.

use crate::model::Function;
use crate::template::{Result, wrong};

#[derive(Debug, Default)]
pub struct Routes {
    routes: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    method: String,
    path: String,
    segments: Vec<Segment>,
    function: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The function's logical id, and the route as the template writes it (for logs: it holds no token).
    Route {
        function: &'a str,
        path: &'a str,
    },
    /// The path is known under these methods only.
    WrongMethod(Vec<&'a str>),
    Nothing,
}

impl Routes {
    pub fn new(functions: &[Function]) -> Result<Self> {
        let mut routes: Vec<Entry> = Vec::new();
        for function in functions {
            for route in &function.routes {
                if let Some(other) = routes.iter().find(|other| other.method == route.method && other.path == route.path) {
                    return Err(wrong!("{} and {} both declare {} {}", other.function, function.id, route.method, route.path));
                }
                routes.push(Entry {
                    method: route.method.clone(),
                    path: route.path.clone(),
                    segments: split(&route.path)
                        .map(|segment| if segment.starts_with('{') && segment.ends_with('}') { Segment::Parameter } else { Segment::Literal(segment.into()) })
                        .collect(),
                    function: function.id.clone(),
                });
            }
        }
        // Literal segments first: of two routes that match, the one with the earlier literal wins.
        routes.sort_by_key(|entry| rank(&entry.segments));
        Ok(Self { routes })
    }

    pub fn find(&self, method: &str, path: &str) -> Found<'_> {
        let mut allowed = Vec::new();
        for entry in self.routes.iter().filter(|entry| matches(&entry.segments, path)) {
            if entry.method == method {
                return Found::Route { function: &entry.function, path: &entry.path };
            }
            allowed.push(entry.method.as_str());
        }
        allowed.sort_unstable();
        allowed.dedup();
        if allowed.is_empty() { Found::Nothing } else { Found::WrongMethod(allowed) }
    }

    pub fn len(&self) -> usize {
        self.routes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

fn split(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn rank(segments: &[Segment]) -> Vec<bool> {
    segments.iter().map(|segment| *segment == Segment::Parameter).collect()
}

fn matches(segments: &[Segment], path: &str) -> bool {
    let mut given = split(path);
    segments.iter().all(|segment| match (segment, given.next()) {
        (Segment::Literal(literal), Some(part)) => literal == part,
        (Segment::Parameter, Some(part)) => !part.is_empty(),
        (_, None) => false,
    }) && given.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Route;

    fn function(id: &str, routes: &[(&str, &str)]) -> Function {
        let routes = routes.iter().map(|(method, path)| Route { method: (*method).into(), path: (*path).into() }).collect();
        Function {
            id: id.into(),
            name: String::new(),
            binary: String::new(),
            env: Default::default(),
            timeout: Default::default(),
            routes,
            schedules: vec![],
            queues: vec![],
            topics: vec![],
        }
    }

    #[test]
    fn a_literal_goes_before_a_parameter_and_the_rest_is_404_or_405() {
        let jobs = function("Jobs", &[("GET", "/v/jobs/{id}"), ("GET", "/v/jobs/kinds"), ("POST", "/v/jobs"), ("POST", "/v/jobs/{id}/cancel")]);
        let routes = Routes::new(&[jobs, function("Other", &[("GET", "/v/jobs")])]).unwrap();
        let route = |function, path| Found::Route { function, path };
        assert_eq!(routes.find("GET", "/v/jobs/kinds"), route("Jobs", "/v/jobs/kinds"));
        assert_eq!(routes.find("GET", "/v/jobs/job_1"), route("Jobs", "/v/jobs/{id}"));
        assert_eq!(routes.find("GET", "/v/jobs"), route("Other", "/v/jobs"));
        assert_eq!(routes.find("POST", "/v/jobs/x/cancel"), route("Jobs", "/v/jobs/{id}/cancel"));
        assert_eq!(routes.find("DELETE", "/v/jobs"), Found::WrongMethod(vec!["GET", "POST"]));
        for path in ["/v/jobs/", "/v/jobs//cancel", "/v", "/", "/v/jobs/x/y", "/V/jobs", "//v/jobs"] {
            assert_eq!(routes.find("GET", path), Found::Nothing, "{path}");
        }
    }

    #[test]
    fn a_route_has_one_function() {
        let error = Routes::new(&[function("A", &[("GET", "/x")]), function("B", &[("GET", "/x")])]).unwrap_err();
        assert_eq!(error.to_string(), "A and B both declare GET /x");
    }
}
