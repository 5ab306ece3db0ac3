"""A single-page application's backend in Flask: JSON in, JSON out, and a login of its own.

It knows nothing of the gateway but the header in which the gateway names the user.
"""

from flask import Flask, jsonify, request

PASSWORDS = {"ann": "correct horse battery", "bob": "another horse battery"}
app = Flask(__name__)


@app.post("/api/login")
def login():
    given = request.get_json()
    if PASSWORDS.get(given["username"]) != given["password"]:
        return jsonify(error="wrong"), 401
    return jsonify(user={"id": given["username"], "roles": ["staff"] if given["username"] == "ann" else []})


@app.post("/api/logout")
def logout():
    return "", 204


@app.get("/api/me")
def me():
    return jsonify(
        user=request.headers.get("X-Auth-User"),
        roles=request.headers.get("X-Auth-Roles"),
        authorization=request.headers.get("Authorization"),
        cookie=request.headers.get("Cookie"),
    )


@app.get("/api/staff")
def staff():
    return jsonify(user=request.headers.get("X-Auth-User"))


@app.get("/")
def page():
    return "<!doctype html><title>app</title><script>/* the application */</script>"
