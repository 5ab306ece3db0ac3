"use strict";
// What any page of any app behind the gateway can do: list and end the user's own sessions.

const list = document.getElementById("sessions");

async function show() {
    const answer = await fetch("/_sessions", { headers: { Accept: "application/json" } });
    if (!answer.ok) {
        location.href = "/login";
        return;
    }
    const { sessions } = await answer.json();
    list.replaceChildren(...sessions.map(row));
}

function row(session) {
    const item = document.createElement("li");
    const words = document.createElement("span");
    const device = `${session.device.browser} on ${session.device.os}`;
    const seen = new Date(session.last_seen_at).toLocaleString();
    // textContent, never innerHTML: the User-Agent is whatever somebody sent.
    words.textContent = `${device}, ${session.last_ip ?? "no address yet"}, last seen ${seen}` + (session.current ? " (this one)" : "");
    const end = document.createElement("button");
    end.textContent = "End";
    end.addEventListener("click", () => remove(`/_sessions/${session.id}`));
    item.append(words, end);
    return item;
}

async function remove(what) {
    await fetch(what, { method: "DELETE" });
    await show();
}

document.getElementById("others").addEventListener("click", () => remove("/_sessions?others=true"));
document.getElementById("all").addEventListener("click", () => remove("/_sessions?all=true"));
show();
