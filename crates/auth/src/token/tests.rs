use super::*;

/// A throw-away key that signs nothing else.
const KEY: &str = include_str!("test-key.pem");

struct World {
    pod: Option<&'static str>,
}

impl TokenSubjects for World {
    fn service_account_uid(&self, namespace: &str, name: &str) -> Option<String> {
        ((namespace, name) == ("d", "sa")).then(|| "sa-1".to_owned())
    }
    fn pod_uid(&self, _: &str, _: &str) -> Option<String> {
        self.pod.map(str::to_owned)
    }
    fn secret_uid(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn node_uid(&self, _: &str) -> Option<String> {
        None
    }
}

const ISSUER: &str = "https://kubernetes.default.svc";

fn spec() -> TokenSpec {
    let named = |name: &str, uid: &str| Ref { name: name.into(), uid: uid.into() };
    TokenSpec {
        kubernetes: KubernetesClaims {
            namespace: "d".into(),
            pod: Some(named("web", "pod-1")),
            node: Some(named("n", "node-1")),
            serviceaccount: named("sa", "sa-1"),
            ..KubernetesClaims::default()
        },
        audiences: vec!["api".into()],
        expiration_seconds: 3600,
    }
}

#[test]
fn a_token_is_accepted_until_something_ends_it() {
    let signer = TokenSigner::new(ISSUER, KEY).unwrap();
    let (token, claims) = signer.issue(&spec(), 1000, "id-1").unwrap();
    assert_eq!((claims.exp, claims.iat, claims.sub.as_str()), (4600, 1000, "system:serviceaccount:d:sa"));
    let alive = World { pod: Some("pod-1") };
    let api = ["api".to_owned()];
    let verified = signer.verify(&token, &api, 1001, &alive).unwrap();
    assert_eq!(verified.user.name, "system:serviceaccount:d:sa");
    assert_eq!(verified.user.uid, "sa-1");
    assert_eq!(verified.user.groups, ["system:serviceaccounts", "system:serviceaccounts:d"]);
    assert_eq!(verified.user.extra[POD_NAME], ["web"]);
    assert_eq!(verified.user.extra[NODE_NAME], ["n"]);
    assert_eq!(verified.user.extra[CREDENTIAL_ID], ["JTI=id-1"]);

    // Clocks may be a minute apart.
    for (now, outcome) in
        [(4660, None), (4661, Some(TokenError::Expired)), (940, None), (939, Some(TokenError::NotYet))]
    {
        assert_eq!(signer.verify(&token, &api, now, &alive).err(), outcome, "{now}");
    }
    assert_eq!(signer.verify(&token, &api, 1001, &World { pod: None }), Err(TokenError::Invalidated));
    assert!(matches!(
        signer.verify(&token, &["x".to_owned()], 1001, &alive),
        Err(TokenError::Audience { .. })
    ));
    let other = TokenSigner::new("https://elsewhere", KEY).unwrap();
    assert_eq!(other.verify(&token, &api, 1001, &alive), Err(TokenError::Foreign));
    assert_eq!(signer.verify("rubbish", &api, 1001, &alive), Err(TokenError::Foreign));
}

/// What is changed about good claims.
type Change = fn(&mut Claims);

fn named(name: &str, uid: &str) -> Option<Ref> {
    Some(Ref { name: name.into(), uid: uid.into() })
}

#[test]
fn refusals_are_in_upstreams_words() {
    let api = ["api".to_owned()];
    let claims = |change: Change| {
        let mut claims = Claims {
            aud: vec!["api".into()],
            exp: 4600,
            iat: 1000,
            iss: ISSUER.into(),
            jti: "id-1".into(),
            nbf: 1000,
            sub: "system:serviceaccount:d:sa".into(),
            kubernetes: spec().kubernetes,
        };
        change(&mut claims);
        claims
    };
    let cases: [(Change, &str); 6] = [
        (|c| c.iat = 1062, "service account token is issued in the future"),
        // The audience is looked at first.
        (
            |c| (c.aud, c.exp) = (vec!["x".into()], 0),
            r#"token audiences ["x"] is invalid for the target audiences ["api"]"#,
        ),
        (|c| c.kubernetes.serviceaccount.name = "no".into(), r#"serviceaccounts "no" not found"#),
        (
            |c| c.kubernetes.serviceaccount.uid = "zz".into(),
            "service account UID (sa-1) does not match claim (zz)",
        ),
        (
            |c| c.kubernetes.pod = named("web", "zz"),
            "pod UID (pod-1) does not match service account pod ref claim (zz)",
        ),
        (|c| c.kubernetes.secret = named("s", "zz"), "service account token has been invalidated"),
    ];
    for (change, message) in cases {
        let refused = accept_claims(&claims(change), &api, 1001, &World { pod: Some("pod-1") });
        assert_eq!(refused.unwrap_err().to_string(), message);
    }
}

#[test]
fn a_changed_token_is_refused() {
    let signer = TokenSigner::new(ISSUER, KEY).unwrap();
    let (token, mut claims) = signer.issue(&spec(), 1000, "id-1").unwrap();
    claims.sub = "system:serviceaccount:kube-system:admin".into();
    let parts: Vec<&str> = token.split('.').collect();
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap());
    let forged = format!("{}.{payload}.{}", parts[0], parts[2]);
    let api = ["api".to_owned()];
    let world = World { pod: Some("pod-1") };
    assert!(matches!(signer.verify(&forged, &api, 1001, &world), Err(TokenError::Invalid(_))));
    // "alg": "none" must not open the door.
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let unsigned = format!("{header}.{}.", parts[1]);
    assert!(signer.verify(&unsigned, &api, 1001, &world).is_err());
}

#[test]
fn discovery_documents_lead_to_the_key() {
    let signer = TokenSigner::new(ISSUER, KEY).unwrap();
    let (token, _) = signer.issue(&spec(), 1000, "id-1").unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!(signer.jwks()["keys"][0]["kid"].as_str(), header.kid.as_deref());
    let configuration = signer.openid_configuration("https://10.0.0.1:6443");
    assert_eq!(configuration["issuer"], ISSUER);
    assert_eq!(configuration["jwks_uri"], "https://10.0.0.1:6443/openid/v1/jwks");
}
