// Verifies a token with a key set and nothing but node: tokens_check.js URL TOKEN AUDIENCE. Prints the claims.
const crypto = require("node:crypto");

async function main([url, token, audience]) {
  const [header, payload, signature] = token.split(".");
  const { alg, kid } = JSON.parse(Buffer.from(header, "base64url"));
  const { keys } = await (await fetch(url)).json();
  const jwk = keys.find((key) => key.kid === kid && key.alg === alg);
  const key = crypto.createPublicKey({ key: jwk, format: "jwk" });
  const options = alg === "ES256" ? { key, dsaEncoding: "ieee-p1363" } : key;
  const hash = alg === "ES256" ? "sha256" : null;
  const good = crypto.verify(hash, Buffer.from(`${header}.${payload}`), options, Buffer.from(signature, "base64url"));
  const claims = JSON.parse(Buffer.from(payload, "base64url"));
  if (!good || claims.aud !== audience || claims.exp * 1000 <= Date.now()) throw new Error("not good");
  console.log(JSON.stringify(claims));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
