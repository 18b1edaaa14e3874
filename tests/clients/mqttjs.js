// Subscribes, publishes what it is told, prints what comes back as one line of JSON.
// Standard input: {"kind", "host", "port", "path", "cafile", "version", "client_id", "topic", "messages": [[qos, hex]]}

import { readFileSync } from "node:fs";
import net from "node:net";
import mqtt from "mqtt";

const told = JSON.parse(readFileSync(0, "utf8"));
const options = {
  protocolVersion: told.version,
  protocolId: told.version === 3 ? "MQIsdp" : "MQTT",
  clientId: told.client_id,
  path: told.path,
  reconnectPeriod: 0,
  ca: told.cafile ? readFileSync(told.cafile) : undefined,
};
const scheme = { tcp: "mqtt", tls: "mqtts", ws: "ws", wss: "wss" }[told.kind];
const client =
  told.kind === "unix"
    ? new mqtt.MqttClient(() => net.connect(told.path), options)
    : mqtt.connect(`${scheme}://${told.host}:${told.port}`, options);

const fail = (error) => {
  console.error(error);
  process.exit(1);
};
const received = [];
client.on("error", fail);
client.on("message", (_topic, payload, packet) => {
  received.push([packet.qos, payload.toString("hex")]);
  if (received.length === told.messages.length)
    client.end(false, {}, () => console.log(JSON.stringify(received)));
});
client.on("connect", async () => {
  try {
    await client.subscribeAsync(told.topic, { qos: 2 });
    for (const [qos, hex] of told.messages)
      await client.publishAsync(told.topic, Buffer.from(hex, "hex"), { qos });
  } catch (error) {
    fail(error);
  }
});
