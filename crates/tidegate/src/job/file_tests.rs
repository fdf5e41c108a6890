use super::*;

#[test]
fn durations_are_strings_or_seconds() {
    let timeout = |value: &str| {
        let job: Result<JobFile, _> = toml::from_str(&format!("[request]\ntimeout = {value}\n"));
        job.map(|job| job.request.timeout.unwrap_or_default()).map_err(|error| error.to_string())
    };
    assert_eq!(timeout("\"250ms\"").as_deref(), Ok("250ms"));
    assert_eq!(timeout("30").as_deref(), Ok("30"));
    assert_eq!(timeout("1.5").as_deref(), Ok("1.5"));
    let error = timeout("true").unwrap_err();
    assert!(error.contains("expected a string such as \"30s\", or a number of seconds"), "{error}");
}

#[test]
fn json_has_neither_dates_nor_infinity() {
    let json = |value: &str| {
        let job: Result<JobFile, _> = toml::from_str(&format!("[request]\njson = {value}\n"));
        job.map(|job| job.request.json.unwrap_or_default().to_string()).map_err(|error| error.to_string())
    };
    let value = "{ b = 1979-05-27, a = [1, 2.5, true, 07:32:00, {}], c = \"{{ row.a }}\" }";
    let expected = r#"{"b":"1979-05-27","a":[1,2.5,true,"07:32:00",{}],"c":"{{ row.a }}"}"#;
    assert_eq!(json(value).as_deref(), Ok(expected));
    for value in ["inf", "{ a = [nan] }"] {
        let error = json(value).unwrap_err();
        assert!(error.contains("line 2") && error.contains("JSON has no inf and no nan"), "{error}");
    }
}
