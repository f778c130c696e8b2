"use strict";

document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/api/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token: document.getElementById("token").value.trim() }),
  });
  if (answer.ok) {
    location.replace("/" + location.hash);
    return;
  }
  let said = await answer.text();
  try { said = JSON.parse(said).error; } catch { /* plain text */ }
  document.getElementById("problem").textContent = said;
});
document.getElementById("in").disabled = false;
document.getElementById("token").disabled = false;
document.getElementById("token").focus();
